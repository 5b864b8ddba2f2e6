/** @file What an adapter can do at most, measured: multiply-adds from registers, and copies in memory. */

export interface Limits {
  /** Floating-point operations per second, float32. */
  readonly flops: number;
  /** Bytes per second, read and written. */
  readonly bandwidth: number;
}

/** Chains of multiply-adds of one invocation, four numbers each, and how often each goes on. */
const [CHAINS, TURNS] = [8, 1024];
const each = (text: (k: number) => string): string => Array.from({ length: CHAINS }, (_, k) => text(k)).join('\n');

// The sums depend on a buffer and are kept if they come to what they never do, so that nothing can be left out.
const MULTIPLY = `
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let factor = x[0];
  let addend = x[1];
  ${each((k) => `var s${k} = vec4<f32>(f32(id.x) + ${k}.0);`)}
  for (var turn = 0u; turn < ${TURNS}u; turn++) { ${each((k) => `s${k} = fma(s${k}, factor, addend);`)} }
  let sum = ${Array.from({ length: CHAINS }, (_, k) => `s${k}`).join(' + ')};
  if (sum.x == -1.0) { x[0] = sum; }
}`;
const COPY = `
@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>) {
  for (var n = id.x; n < arrayLength(&x); n += 256u * count.x) { y[n] = x[n]; }
}`;

/** Seconds of a dispatch: the fastest of some samples of many. */
async function secondsOf(
  device: GPUDevice,
  code: string,
  buffers: readonly GPUBuffer[],
  groups: number,
  calls: number,
) {
  const compute = { module: device.createShaderModule({ code }), entryPoint: 'main' };
  const pipeline = device.createComputePipeline({ layout: 'auto', compute });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const bindGroup = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const run = async (count: number): Promise<number> => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let call = 0; call < count; call++) pass.dispatchWorkgroups(groups);
    pass.end();
    const start = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - start) / 1000 / count;
  };
  await run(1);
  let best = Infinity;
  for (let sample = 0; sample < 5; sample++) best = Math.min(best, await run(calls));
  return best;
}

/** @param isSoftware  whether to be content with little work */
export async function measureLimits(device: GPUDevice, isSoftware: boolean): Promise<Limits> {
  const [groups, bytes, calls] = isSoftware ? [16, 2 ** 24, 4] : [8192, 2 ** 29, 20];
  const size = Math.min(bytes, device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  // GPUBufferUsage, which Node has under no global name: STORAGE.
  const [x, y] = [0, 1].map(() => device.createBuffer({ size, usage: 0x80 })) as [GPUBuffer, GPUBuffer];
  const multiplying = await secondsOf(device, MULTIPLY, [x], groups, calls);
  const copying = await secondsOf(device, COPY, [y, x], Math.min(4096, size / 16 / 256), calls);
  x.destroy();
  y.destroy();
  return { flops: (groups * 256 * TURNS * CHAINS * 4 * 2) / multiplying, bandwidth: (2 * size) / copying };
}
