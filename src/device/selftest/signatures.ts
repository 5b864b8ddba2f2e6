/**
 * @file The arguments of every kernel by name and role, in the order of the contract. It says which arguments a kernel
 * overwrites, which it adds to and which it only reads; it holds no values.
 */
import type { KernelName } from '../kernels.js';

/**
 * What a kernel does with a buffer: `output` is overwritten, `gradient` is added to, `update` is read and rewritten,
 * `saved` is overwritten with a layout that is the device's own, `input` is read.
 */
export type Role = 'output' | 'gradient' | 'update' | 'saved' | 'input';

export interface Signature {
  /** Buffers in the order of the contract, each with its role. */
  readonly buffers: readonly (readonly [name: string, role: Role])[];
  /** Sizes and options, in the order of the contract; they follow the buffers. */
  readonly options: readonly string[];
}

const words = (text: string): string[] => text.split(' ').filter((word) => word !== '');

/** A forward kernel: what it writes, what it reads, its sizes and options. */
function forward(outputs: string, inputs: string, options: string): Signature {
  const written = words(outputs).map((name) => [name, name === 'saved' ? 'saved' : 'output'] as const);
  return { buffers: [...written, ...words(inputs).map((name) => [name, 'input'] as const)], options: words(options) };
}

/** A kernel that changes buffers which already hold something: `role` says how. */
function change(role: 'gradient' | 'update', changed: string, inputs: string, options: string): Signature {
  const buffers = [
    ...words(changed).map((name) => [name, role] as const),
    ...words(inputs).map((name) => [name, 'input'] as const),
  ];
  return { buffers, options: words(options) };
}

const backward = (gradients: string, inputs: string, options: string): Signature =>
  change('gradient', gradients, inputs, options);

/** `matmul` overwrites c, unless its option `accumulate` is set: see `roleOf`. */
export const signatures: Readonly<Record<KernelName, Signature>> = {
  fill: forward('y', '', 'value N'),
  copy: forward('y', 'x', 'N'),
  accumulate: change('update', 'y', 'x', 'alpha N'),
  add: forward('y', 'a b', 'N'),
  mulForward: forward('y', 'a b', 'N'),
  mulBackward: backward('da db', 'dy a b', 'N'),
  activationForward: forward('y', 'x', 'N activation'),
  activationBackward: backward('dx', 'dy x', 'N activation'),
  gatedActivationForward: forward('y', 'gate up', 'N activation'),
  gatedActivationBackward: backward('dgate dup', 'dy gate up', 'N activation'),
  skipGateForward: forward('y', 'h c skip z', 'N D'),
  skipGateBackward: backward('dh dc dskip dz', 'dy h c skip z', 'N D'),
  softCapForward: forward('y', 'x', 'N cap'),
  softCapBackward: backward('dx', 'dy y', 'N cap'),
  dropoutForward: forward('y', 'x', 'N rate key0 key1'),
  dropoutBackward: backward('dx', 'dy', 'N rate key0 key1'),
  sumForward: forward('y', 'x', 'N scale'),
  sumBackward: backward('dx', 'dy', 'N scale'),

  matmul: forward('c', 'a b bias', 'M N K transA transB lda ldb ldc accumulate activation'),
  biasBackward: backward('dbias', 'dy', 'N D'),
  headwiseLinearForward: forward('y', 'x weight bias', 'N G O I'),
  headwiseLinearBackward: backward('dx dweight dbias', 'dy x weight', 'N G O I'),

  packRows: forward('packed', 'x', 'R C format group'),
  unpackRows: forward('y', 'packed', 'R C format group'),
  linearPacked: forward('y', 'x weight bias', 'N O I format group'),
  embeddingPacked: forward('y', 'tokens table', 'N D V format group'),

  layernormForward: forward('y mean rstd', 'x weight bias', 'N G D eps weightOffset'),
  layernormBackward: backward('dx dweight dbias', 'dy x weight mean rstd', 'N G D weightOffset'),
  rmsnormForward: forward('y rstd', 'x weight', 'N G D eps weightOffset'),
  rmsnormBackward: backward('dx dweight', 'dy x weight rstd', 'N G D weightOffset'),

  conv1dForward: forward('y stateOut', 'x weight bias stateIn reset', 'B T D K activation'),
  conv1dBackward: backward(
    'dx dweight dbias dstateIn',
    'dy dstateOut x weight bias stateIn reset',
    'B T D K activation',
  ),
  longConvForward: forward('y', 'x kernel skip reset', 'B T D K reversed'),
  longConvBackward: backward('dx dkernel dskip', 'dy x kernel skip reset', 'B T D K reversed'),
  ssmDiscretizeForward: forward('c z', 'A C logDt', 'N D realPart L scale'),
  ssmDiscretizeBackward: backward('dA dC dlogDt', 'dc dz A C logDt', 'N D realPart L scale'),
  ssmKernelForward: forward('kernel', 'c z', 'L N D anchored'),
  ssmKernelBackward: backward('dc dz', 'dkernel c z', 'L N D anchored'),
  diagonalScanForward: forward('y stateOut', 'x c z skip stateIn reset', 'B T N D'),
  diagonalScanBackward: backward('dx dc dz dskip dstateIn', 'dy dstateOut x c z skip stateIn reset', 'B T N D'),
  s4ScanForward: forward('y stateOut', 'x A P Bm C logDt skip stateIn reset', 'B T N D'),
  s4ScanBackward: backward(
    'dx dA dP dBm dC dlogDt dskip dstateIn',
    'dy dstateOut x A P Bm C logDt skip stateIn reset',
    'B T N D',
  ),
  slstmForward: forward('h stateOut saved', 'i f z o recurrent bias stateIn reset', 'B T NH DH'),
  slstmBackward: backward(
    'di df dz do_ drecurrent dbias dstateIn',
    'dh dstateOut h saved recurrent stateIn reset',
    'B T NH DH',
  ),
  lstmForward: forward('h stateOut saved', 'i f z o recurrent bias stateIn reset', 'B T NH DH'),
  lstmBackward: backward(
    'di df dz do_ drecurrent dbias dstateIn',
    'dh dstateOut h saved recurrent stateIn reset',
    'B T NH DH',
  ),
  mlstmForward: forward(
    'h m denominator Cout nout mout',
    'q k v i f Cin nin min reset',
    'B T NH DK DV L eps inputGate normalize',
  ),
  mlstmBackward: backward(
    'dq dk dv di df dCin dnin dmin',
    'dh dCout dnout dmout q k v i f Cin nin min reset h m denominator',
    'B T NH DK DV L eps inputGate normalize',
  ),
  mlstmStep: forward('h Cout nout mout', 'q k v i f Cin nin min', 'B NH DK DV eps inputGate normalize'),
  selectiveScanForward: forward('y stateOut saved', 'u delta A Bm C skip stateIn reset', 'B T D N'),
  selectiveScanBackward: backward(
    'du ddelta dA dBm dC dskip dstateIn',
    'dy dstateOut saved u delta A Bm C skip stateIn reset',
    'B T D N',
  ),
  wkvForward: forward('y stateOut saved', 'k v w u stateIn reset', 'B T D'),
  wkvBackward: backward('dk dv dw du dstateIn', 'dy dstateOut saved k v w u stateIn reset', 'B T D'),
  scanForward: forward('h stateOut', 'a x stateIn reset', 'B T D'),
  scanBackward: backward('da dx dstateIn', 'dh dstateOut h a stateIn reset', 'B T D'),

  positions: forward('y positionOut', 'positionIn reset', 'B T'),
  ropeForward: forward('y', 'x positions', 'N NH DH theta'),
  ropeBackward: backward('dx', 'dy positions', 'N NH DH theta'),
  attentionForward: forward('y lse', 'q k v bias kCache vCache positions', 'B T NH NKV DK DV W Q P scale causal'),
  attentionBackward: backward(
    'dq dk dv dbias dkCache dvCache',
    'dy y lse q k v bias kCache vCache positions',
    'B T NH NKV DK DV W Q P scale causal',
  ),
  attentionCache: forward('kOut', 'kIn k positions', 'B T W R'),
  attentionCacheBackward: backward('dk dkIn', 'dkOut positions', 'B T W R'),
  deltaRuleForward: forward('o stateOut', 'q k v beta g stateIn reset', 'B T NH DK DV L scale'),
  deltaRuleBackward: backward(
    'dq dk dv dbeta dg dstateIn',
    'do_ dstateOut q k v beta g stateIn reset',
    'B T NH DK DV L scale',
  ),
  linearAttentionForward: forward(
    'o Sout zout denominator',
    'q k v logDecay u Sin zin reset',
    'B T NH NG DK DV L scale eps decay normalize causal',
  ),
  linearAttentionBackward: backward(
    'dq dk dv dlogDecay du dSin dzin',
    'do_ dSout dzout q k v logDecay u Sin zin reset o denominator',
    'B T NH NG DK DV L scale eps decay normalize causal',
  ),
  dplrForward: forward('o stateOut', 'q k v a b g stateIn reset', 'B T NH DK DV'),
  dplrBackward: backward('dq dk dv da db dg dstateIn', 'do_ dstateOut q k v a b g stateIn reset', 'B T NH DK DV'),

  linformerForward: forward('y', 'q k v E positions', 'B T NH DK DV P R scale'),
  linformerBackward: backward('dq dk dv dE', 'dy q k v E positions', 'B T NH DK DV P R scale'),

  embeddingForward: forward('y', 'tokens table', 'N D V'),
  embeddingBackward: backward('dtable', 'dy tokens', 'N D V'),
  linearCrossEntropyForward: forward('loss logsumexp', 'x weight targets', 'N D V softCap'),
  linearCrossEntropyBackward: backward('dx dweight', 'dloss x weight targets logsumexp', 'N D V softCap'),
  linearCrossEntropyForwardBackward: {
    buffers: [...backward('dx dweight', '', '').buffers, ...forward('loss', 'dloss x weight targets', '').buffers],
    options: words('N D V softCap'),
  },

  sumOfSquares: forward('y', 'x', 'N'),
  adamw: change(
    'update',
    'parameter m v',
    'gradient',
    'N gradScale lr beta1 beta2 eps weightDecay correction1 correction2',
  ),
};

/** The role of a buffer in one call: that of the table, but `c` of an accumulating matmul is an update. */
export function roleOf(kernel: KernelName, role: Role, options: Readonly<Record<string, unknown>>): Role {
  return kernel === 'matmul' && role === 'output' && options['accumulate'] === true ? 'update' : role;
}

/** The argument whose gradient `dname` is: `dx` of `x`, `do_` of `o`. */
export const gradientOf = (dname: string): string => dname.slice(1).replace(/_$/, '');
