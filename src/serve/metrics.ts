/** @file Counters and histograms of the server, in the text format of Prometheus. */

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;

class Histogram {
  readonly #counts = new Array<number>(SECONDS.length).fill(0);
  #count = 0;
  #sum = 0;

  observe(seconds: number): void {
    SECONDS.forEach((bound, k) => {
      if (seconds <= bound) this.#counts[k]!++;
    });
    this.#count++;
    this.#sum += seconds;
  }

  lines(name: string, help: string): string[] {
    return [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} histogram`,
      ...SECONDS.map((bound, k) => `${name}_bucket{le="${bound}"} ${this.#counts[k]}`),
      `${name}_bucket{le="+Inf"} ${this.#count}`,
      `${name}_sum ${this.#sum}`,
      `${name}_count ${this.#count}`,
    ];
  }
}

export type Gauge = readonly [name: string, help: string, kind: 'counter' | 'gauge', value: number];

export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly firstToken = new Histogram();
  readonly perToken = new Histogram();
  readonly duration = new Histogram();

  /** @param route  as it is defined, not as it was asked for: the number of labels must stay small */
  request(route: string, status: number): void {
    const key = `route="${route}",status="${status}"`;
    this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1);
  }

  /** @param values  what others count */
  text(values: readonly Gauge[]): string {
    const lines = [
      '# HELP xlstm_requests_total Answered requests.',
      '# TYPE xlstm_requests_total counter',
      ...[...this.#requests].map(([labels, count]) => `xlstm_requests_total{${labels}} ${count}`),
      ...values.flatMap(([name, help, kind, value]) => [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} ${kind}`,
        `${name} ${value}`,
      ]),
      ...this.firstToken.lines('xlstm_time_to_first_token_seconds', 'From a request to its first piece of text.'),
      ...this.perToken.lines('xlstm_time_per_token_seconds', 'Between two pieces of text of a request.'),
      ...this.duration.lines('xlstm_request_duration_seconds', 'From a request to the end of its answer.'),
    ];
    return `${lines.join('\n')}\n`;
  }
}
