/** @file What a comparison with other libraries is made of: rows, their contenders, and what a contender's process answers. */

/** Operations and bytes of memory of one call, at least. */
export interface Work {
  readonly flops?: number;
  /** Read and written where all of it must come from memory, as in decoding; absent where caches serve. */
  readonly bytes?: number;
}

/** What a contender's process prints as its last line. */
export interface Answer {
  /** Seconds of each call that was timed, by case; a row without cases has the one "". */
  readonly seconds: Readonly<Record<string, readonly number[]>>;
  /** Numbers that must be the same in every contender: losses, logits, gradients. */
  readonly outputs: Readonly<Record<string, readonly number[]>>;
  readonly versions: Readonly<Record<string, string>>;
  /** Of one call, by case; ours alone tells. */
  readonly work?: Readonly<Record<string, Work>>;
  /** Bytes per second that its cores read from memory right before each call; ours tells where calls wait for it. */
  readonly bandwidth?: readonly number[];
}

/** Packages a contender needs beside this project. */
export type Needs = 'nothing' | 'python' | 'npm';

export interface Contender {
  readonly name: string;
  readonly needs: Needs;
  /** A file under bench/peers/ that takes a job (JSON) as its argument. */
  readonly program: string;
  /** Fields of its job. */
  readonly job?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Allowed RMS(difference) / RMS(ours) where it is not the row's, as where it computes in another precision. */
  readonly tolerance?: number;
  /** Numbers of threads that it can use, where it is not every one. */
  readonly threads?: readonly number[];
}

export interface Target {
  /** Times as fast as the peer: its seconds over ours. */
  readonly ratio: number;
  /** For a peer whose name begins so; default: all. */
  readonly peer?: string;
  /** For cases whose name begins so; default: all. */
  readonly case?: string;
  /** At this number of threads; default: every one. */
  readonly threads?: number;
}

/** A folder and numbers that the programs of a row are given. */
export type Prepared = Readonly<Record<string, unknown>>;

export interface Row {
  readonly id: string;
  readonly title: string;
  /** Allowed RMS(difference) / RMS(ours) of the outputs. */
  readonly tolerance: number;
  readonly targets: readonly Target[];
  /** Share of the read bandwidth that is asked for. */
  readonly bandwidth?: number;
  /** Numbers of threads at which it makes sense; default: every one that was asked for. */
  readonly threads?: readonly number[];
  /** Id of the row of even sizes whose rate it must hold to 0.8. */
  readonly near?: string;
  readonly ours: Contender;
  readonly peers: readonly Contender[];
  /** Whether a call is the whole process, from its start; timed from outside. */
  readonly wholeProcess?: boolean;
  /**
   * Writes weights and inputs into an empty folder.
   * @param quick  smaller where that changes no meaning
   */
  prepare(folder: string, quick: boolean): Promise<Prepared>;
}

/** Share of the neighbour's rate that a row of odd sizes must hold. */
export const ODD_SHARE = 0.8;
