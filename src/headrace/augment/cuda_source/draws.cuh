/* Draws on the device: the twins of headrace.draws, in a subset of C without headers.
 *
 * Integers are exact; floats are one product and one sum that must not be fused, so NVRTC gets --fmad=false and a
 * host compiler -ffp-contract=off. A host compiler also needs __device__ and __forceinline__ defined, and __clz as
 * __builtin_clz.
 */

typedef unsigned int u32;
typedef unsigned long long u64;

/* The shape of a quantile table: cells in a row, bits behind the cell, entries of a side (headrace.draws.tables). */
#define TABLE_CELL_BITS 7
#define TABLE_REST_BITS 23
#define TABLE_SIDE 4096

/* Philox4x32 with 10 rounds: four words for a counter of four and a key of two. */
__device__ __forceinline__ void philox4x32_10(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1, u32 *words)
{
    for (int round = 0; round < 10; ++round) {
        u64 first = (u64)0xD2511F53u * c0, second = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(second >> 32) ^ c1 ^ k0;
        c1 = (u32)second;
        c2 = (u32)(first >> 32) ^ c3 ^ k1;
        c3 = (u32)first;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* From 0 to 1, a multiple of 2^-24. */
__device__ __forceinline__ float uniform_of(u32 word)
{
    return (float)(word >> 8) * 5.9604644775390625e-08f;
}

/* From 0 to n - 1; n is at most 2^32. */
__device__ __forceinline__ u32 integer_of(u32 word, u64 n)
{
    return (u32)((word * n) >> 32);
}

/* Whether a word is below floor(p * 2^32), which for p = 1 needs 33 bits. */
__device__ __forceinline__ int bernoulli_of(u32 word, u64 threshold)
{
    return (u64)word < threshold;
}

/* The value of a quantile table, float [2 * TABLE_SIDE][2], at a word: normal and beta numbers. */
__device__ __forceinline__ float quantile_of(u32 word, const float *table)
{
    u32 upper = word >> 31;
    u32 place = word ^ (0u - upper);
    u32 row = 0;
    if (place != 0) {
        /* The leading bit goes to bit 30; the cell and the way into it lie right behind it. */
        int shift = __clz((int)place) - 1;
        place <<= shift;
        row = 31u - (u32)shift;
    }
    u32 cell = (place >> TABLE_REST_BITS) & ((1u << TABLE_CELL_BITS) - 1u);
    u32 rest = place & ((1u << TABLE_REST_BITS) - 1u);
    const float *entry = table + 2 * (upper * TABLE_SIDE + (row << TABLE_CELL_BITS) + cell);
    return entry[0] + entry[1] * ((float)rest * 1.1920928955078125e-07f);
}
