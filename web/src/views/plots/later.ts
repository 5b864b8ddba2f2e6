/** @file Drawing in small pieces: many plots that are made at once would keep the page from answering, so each has its own turn. */

const jobs = new Set<() => unknown>();
let isDue = false;

function next(): void {
  const [job] = jobs;
  if (job !== undefined) {
    jobs.delete(job);
    job();
  }
  isDue = jobs.size > 0;
  if (isDue) setTimeout(next);
}

/** Does the job in a turn of its own, after those that were asked for before. @returns what calls it off */
export function later(job: () => unknown): () => void {
  jobs.add(job);
  if (!isDue) setTimeout(next);
  isDue = true;
  return () => void jobs.delete(job);
}
