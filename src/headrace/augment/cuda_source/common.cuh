/* Words that NVRTC and a host's C compiler need alike, and what all kernels share.
 *
 * A host compiler gets HOST defined: THREAD then is the number that the loop around a kernel counts.
 */

typedef unsigned char u8;
typedef unsigned short u16;

#ifdef HOST
#define KERNEL void
#define THREAD host_thread
static u64 host_thread;
static inline void add_to(u64 *sum, u64 part) { *sum += part; }
static inline float int_as_float(int bits) { union { int i; float f; } both; both.i = bits; return both.f; }
#define sqrtf __builtin_sqrtf
#define floorf __builtin_floorf
#else
#define KERNEL extern "C" __global__ void
#define THREAD ((u64)blockIdx.x * blockDim.x + threadIdx.x)
__device__ __forceinline__ void add_to(u64 *sum, u64 part) { atomicAdd(sum, part); }
__device__ __forceinline__ float int_as_float(int bits) { return __int_as_float(bits); }
#endif

/* The word of one element of a sample: word e % 4 of block e / 4; key and identity as in headrace.draws. */
__device__ __forceinline__ u32 element_word(const u32 *key, const u32 *identity, u64 element)
{
    u32 words[4];
    philox4x32_10((u32)(element >> 2), identity[2], identity[3], identity[4], key[0] ^ identity[0],
                  key[1] ^ identity[1], words);
    return words[element & 3];
}
