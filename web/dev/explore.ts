import { createCpuDevice } from '../../src/device/cpu/cpu.js';
import { SearchPair } from '../src/worker/search-pair.js';
const device = createCpuDevice();
const [maxLength, dim, learningRate, seconds] = process.argv.slice(2).map(Number) as [number, number, number, number];
const pair = new SearchPair(device as any, { maxLength, dim, learningRate, seed: 1 });
let last = 0;
let done = 0;
pair.start((e: any) => {
  if (e.kind === 'searchErrors' && e.step - last >= 200) {
    last = e.step;
    const f = (x: any) => `${x.all.toFixed(4)} rev ${x.revised.toFixed(4)} kept ${x.kept.toFixed(4)}`;
    console.log(maxLength, dim, learningRate, 'step', e.step, 'lstm', f(e.errors.lstm), 'slstm', f(e.errors.slstm));
  }
  if (e.kind === 'searchEnded') console.log('ended', e.problem);
});
setTimeout(() => void pair.stop(), seconds * 1000);
