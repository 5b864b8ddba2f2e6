/** @file onnxruntime-web with its WebGPU provider in the bench: a model of one matrix product, all of it on the GPU. */
import * as ort from 'onnxruntime-web/webgpu';

// The few parts of a protobuf message that a model needs: a tag, then a number or a stretch of bytes.
const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
const number = (field, value) => [8 * field, ...varint(value)];
const bytes = (field, content) => [8 * field + 2, ...varint(content.length), ...content];
const text = (field, value) => bytes(field, [...new TextEncoder().encode(value)]);

/** ONNX ValueInfoProto of a float32 matrix. */
function value(name, shape) {
  const dimensions = shape.flatMap((length) => bytes(1, number(1, length)));
  const tensor = [...number(1, 1), ...bytes(2, dimensions)];
  return [...text(1, name), ...bytes(2, bytes(1, tensor))];
}

/** ONNX ModelProto: c = MatMul(a, b). */
function modelOf({ M, N, K }) {
  const node = [...text(1, 'a'), ...text(1, 'b'), ...text(2, 'c'), ...text(4, 'MatMul')];
  const graph = [
    ...bytes(1, node),
    ...text(2, 'product'),
    ...bytes(11, value('a', [M, K])),
    ...bytes(11, value('b', [K, N])),
    ...bytes(12, value('c', [M, N])),
  ];
  const operators = [...text(1, ''), ...number(2, 17)];
  return Uint8Array.from([...number(1, 8), ...bytes(7, graph), ...bytes(8, operators)]);
}

async function matmul({ M, N, K, a, b }) {
  const session = await ort.InferenceSession.create(modelOf({ M, N, K }), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: 'gpu-buffer',
  });
  const device = await ort.env.webgpu.device;
  const onGpu = (data, dims) => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer({ size: data.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, data);
    return { buffer, tensor: ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims }) };
  };
  const [first, second] = [onGpu(a, [M, K]), onGpu(b, [K, N])];
  const run = async () => (await session.run({ a: first.tensor, b: second.tensor })).c;
  const corner = device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  return {
    async calls(count) {
      let last = await run();
      for (let call = 1; call < count; call++) {
        last.dispose();
        last = await run();
      }
      // Reading a result is the one way in which it surely waits.
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(last.gpuBuffer, 4 * (M * N - 1), corner, 0, 4);
      device.queue.submit([encoder.finish()]);
      await corner.mapAsync(GPUMapMode.READ);
      corner.unmap();
      last.dispose();
    },
    outputs: async () => (await run()).getData(true),
    dispose() {
      [first.buffer, second.buffer, corner].forEach((buffer) => buffer.destroy());
      void session.release();
    },
  };
}

export async function open() {
  ort.env.wasm.wasmPaths = '/onnxruntime-web/';
  ort.env.wasm.numThreads = 1;
  return { matmul };
}
