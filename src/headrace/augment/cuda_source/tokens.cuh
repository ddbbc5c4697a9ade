/* MaskTokens and TokenReplace on padded ids, a thread for each place; compiled for int and long long.
 *
 * The words of options are those of headrace.augment.fused.tokens.program. labels is NULL for TokenReplace.
 */

__device__ __forceinline__ int NAME(token_open)(const long long *options, int count, long long value, int is_inside)
{
    if (!is_inside || (options[T_HAS_PAD] && value == options[T_PAD])) return 0;
    for (int at = T_SPECIAL; at < count; ++at) {
        if (value == options[at]) return 0;
    }
    return 1;
}

KERNEL NAME(tokens)(const int *records, const u32 *identity, const u32 *key, const long long *options,
                    const long long *lengths, const PIXEL *ids, PIXEL *out, long long *labels, int masks,
                    int has_lengths, int options_count, int width, int fields, int count)
{
    u64 thread = THREAD, sample = thread / width, place = thread % width;
    if (sample >= (u64)count) return;
    long long value = ids[thread], label = options[T_F];
    PIXEL found = ids[thread];
    int is_on = records[sample * fields + options[T_APPLIED]] != 0;
    int is_inside = !has_lengths || (long long)place < lengths[sample];
    if (is_on && NAME(token_open)(options, options_count, value, is_inside)) {
        const u32 *who = identity + 5 * sample;
        long long word = element_word(key, who, 2 * place);
        u64 other = element_word(key, who, 2 * place + 1);
        if (masks) {
            if (word < options[T_C]) label = value;
            if (word < options[T_A]) found = (PIXEL)options[T_D];
            else if (word < options[T_B]) found = (PIXEL)(long long)(other * (u64)options[T_E] >> 32);
        } else if (word < options[T_A]) {
            found = (PIXEL)(long long)(other * (u64)options[T_B] >> 32);
        }
    }
    out[thread] = found;
    if (masks) labels[thread] = label;
}
