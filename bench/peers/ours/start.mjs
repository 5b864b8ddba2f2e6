/** @file The command that a user gives, with its words out of the job; what it prints becomes the answer. */
const { folder, prompt, threads } = JSON.parse(process.argv[2]);
const write = process.stdout.write.bind(process.stdout);

/** @param {string} text */
const answered = (text) => {
  const { tokens } = JSON.parse(text);
  return write(`${JSON.stringify({ seconds: {}, outputs: { tokens }, versions: { node: process.versions.node } })}\n`);
};
process.stdout.write = /** @type {typeof process.stdout.write} */ (answered);
const words = ['generate', folder, prompt, '--device', 'cpu', '--threads', threads, '--max-tokens', '1'];
process.argv = [process.execPath, 'xlstm', ...words.map(String), '--temperature', '0', '--json'];
await import('../../../dist/cli/main.js');
