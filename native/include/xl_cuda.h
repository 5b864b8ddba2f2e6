/*
 * xl_cuda.h: what the CUDA library has beside the memory calls and kernels of xl.h: the device, its stream, graphs and
 * events. Plain declarations, as in xl.h.
 *
 * - One device per process: all memory, kernels and graphs are its own. Kernels are enqueued on one stream and nothing
 *   waits but xl_read, xl_synchronize and xl_event_elapsed. What a kernel finds wrong in its data (a token outside of
 *   the vocabulary) is reported by the next of these.
 * - Of xl.h it has xl_last_error, xl_abi_version, xl_isa, xl_alloc, xl_free, xl_trim, xl_write, xl_read and kernels.
 *   A kernel xl_NAME has a sister xl_NAME_bf16 whose activations are bfloat16; these are not listed here.
 */
#ifndef XL_CUDA_H
#define XL_CUDA_H
#include "xl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the device with this index; every other call needs it first. Again with the same index does nothing. */
XL_API int xl_open_device(int32_t index);
XL_API const char *xl_device_name(void);
/*
 * info[0..7] receive: index, 10 * major + minor compute capability, multiprocessors, CUDA version of the driver and of
 * this library (1000 * major + 10 * minor), bytes of the device and of these free, devices of the machine.
 */
XL_API int xl_device_info(double *info);
/* Bytes: info[0] handed out by xl_alloc, info[1] kept for reuse, info[2] workspace, info[3] held for graphs. */
XL_API int xl_memory_info(double *info);
/* Where cuBLASLt was loaded from. A failure says where it was looked for. */
XL_API int xl_load_cublaslt(void);
XL_API const char *xl_cublaslt_path(void);
XL_API int32_t xl_cublaslt_version(void);

/* For tests: kernels choose as on a device of at most this capability (80, 90, ...); 0 ends it. */
XL_API int xl_limit_capability(int32_t capability);
/* For tests: NaN in the workspace before each kernel that asks for it. */
XL_API int xl_poison_workspace(int32_t is_on);

/* Waits for all that was enqueued. */
XL_API int xl_synchronize(void);

/* Points in time on the stream: event[0] receives the handle, milliseconds[0] the time between two, once they passed. */
XL_API int xl_event_create(double *event);
XL_API int xl_event_record(uintptr_t event);
XL_API int xl_event_elapsed(double *milliseconds, uintptr_t start, uintptr_t end);
XL_API int xl_event_destroy(uintptr_t event);

/* bfloat16 and float32 into each other, rounded to nearest even; uint8_t * is an address of bfloat16 here. */
XL_API int xl_cast_to_bf16(uint8_t *y, const float *x, int64_t N);
XL_API int xl_cast_from_bf16(float *y, const uint8_t *x, int64_t N);

/*
 * The update of a recorded training step, whose numbers that change lie in memory. scale[0] = the factor that brings a
 * gradient of norm sqrt(found[1]) down to clip, at most 1; NaN where the norm or the loss found[0] is not finite.
 */
XL_API int xl_clip_scale(float *scale, const float *found, double clip);
/*
 * xl_adamw with grad_scale = scale[0], lr / correction1 = rates[0], 1 / correction2 = rates[1] and
 * lr * weight_decay = rates[2]; copy [N], if not NULL, becomes the new parameters as bfloat16. Does nothing where scale[0]
 * is NaN.
 */
XL_API int xl_adamw_recorded(float *parameter, uint8_t *copy, float *m, float *v, const float *gradient,
                             const float *scale, const float *rates, int64_t N, double beta1, double beta2, double eps);

#ifdef __cplusplus
}
#endif
#endif
