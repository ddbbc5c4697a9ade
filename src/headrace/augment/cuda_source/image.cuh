/* One image stage, a thread for each pixel: the passes of headrace.augment.fused.image.program.
 *
 * This text is compiled for PIXEL u8, with IS_WHOLE 1, and for float; moves.cuh comes before it each time. Whole
 * numbers are exact; floats are rounded once for each operation, in the order that is written here, and never
 * fused. The reference is headrace.augment.image; comments say which of its functions something is the twin of.
 */

#define VALUE WIDE
/* The weight of a source pixel of Windows.bilinear; 0 outside. */
__device__ __forceinline__ long long NAME(tent)(
    long long source, long long length, long long count, long long doubled, long long reach)
{
    long long distance = (2 * source + 1) * count - doubled;
    long long weight = reach - (distance < 0 ? -distance : distance);
    return source < 0 || source >= length || weight < 0 ? 0 : weight;
}

/* The first source pixel that may weigh in, how far the weights reach, and how many there may be. */
__device__ __forceinline__ long long NAME(first_tap)(
    int place, int side, int length, int count, int is_smooth, long long *reach, int *taps)
{
    long long doubled = (2LL * place + 1) * length, numerator;
    *reach = 2LL * (is_smooth && length > count ? length : count);
    *taps = is_smooth ? (2 * (side > count ? side : count) + count - 1) / count : 2;
    numerator = doubled - *reach - count;
    /* Division that rounds down. */
    return (numerator >= 0 ? numerator / (2 * count) : -((-numerator + 2 * count - 1) / (2 * count))) + 1;
}

/* Windows.bilinear along one axis: the whole weight 2^-22, or the quotient. */
__device__ __forceinline__ VALUE NAME(part_of)(long long weight, long long total)
{
#if IS_WHOLE
    return (int)(((weight << 23) + total) / (2 * total));
#else
    return (float)((double)weight / (double)total);
#endif
}

__device__ __forceinline__ VALUE NAME(finished)(VALUE sum)
{
#if IS_WHOLE
    sum >>= 22;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
#else
    return sum;
#endif
}

#if IS_WHOLE
#define SUM_BEGIN (1 << 21)
#else
#define SUM_BEGIN 0.0f
#endif

__device__ __forceinline__ VALUE NAME(resized_at)(
    const NAME(program) *p, const PIXEL *image, const int *record, int pass, int y, int x, int channel)
{
    const int *row = p->passes + pass * PASS_WORDS;
    int top = record[row[P0]], left = record[row[P1]], height = record[row[P2]], width = record[row[P3]];
    int rows = row[NEW_HEIGHT], columns = row[NEW_WIDTH], smooth = row[A] == ANTIALIAS, taps_y, taps_x;
    if (row[A] == NEAREST) {
        int from_y = top + (int)((2LL * y + 1) * height / (2LL * rows));
        int from_x = left + (int)((2LL * x + 1) * width / (2LL * columns));
        return NAME(mapped_at)(p, image, record, pass - 1, from_y, from_x, channel);
    }
    long long reach_y, reach_x, total_y = 0, total_x = 0;
    long long first_y = NAME(first_tap)(y, row[HEIGHT], height, rows, smooth, &reach_y, &taps_y);
    long long first_x = NAME(first_tap)(x, row[WIDTH], width, columns, smooth, &reach_x, &taps_x);
    long long twice_y = (2LL * y + 1) * height, twice_x = (2LL * x + 1) * width;
    for (int tap = 0; tap < taps_y; ++tap) total_y += NAME(tent)(first_y + tap, height, rows, twice_y, reach_y);
    for (int tap = 0; tap < taps_x; ++tap) total_x += NAME(tent)(first_x + tap, width, columns, twice_x, reach_x);
    VALUE sum = SUM_BEGIN;
    for (int tap_y = 0; tap_y < taps_y; ++tap_y) {
        long long weight_y = NAME(tent)(first_y + tap_y, height, rows, twice_y, reach_y);
        if (weight_y == 0) continue;
        VALUE across = SUM_BEGIN;
        for (int tap_x = 0; tap_x < taps_x; ++tap_x) {
            long long weight_x = NAME(tent)(first_x + tap_x, width, columns, twice_x, reach_x);
            if (weight_x == 0) continue;
            VALUE value = NAME(mapped_at)(
                p, image, record, pass - 1, top + (int)(first_y + tap_y), left + (int)(first_x + tap_x), channel);
            across = across + value * NAME(part_of)(weight_x, total_x);
        }
        sum = sum + NAME(finished)(across) * NAME(part_of)(weight_y, total_y);
    }
    return NAME(finished)(sum);
}

/* A pixel for rotate._take_pixels: the fill value outside. */
__device__ __forceinline__ VALUE NAME(taken_at)(
    const NAME(program) *p, const PIXEL *image, const int *record, int pass, long long y, long long x, int channel)
{
    const int *row = p->passes + pass * PASS_WORDS;
    if (y < 0 || y >= row[HEIGHT] || x < 0 || x >= row[WIDTH]) {
        return p->fills[row[B] * row[PLANES] * row[ITEM] + channel];
    }
    return NAME(mapped_at)(p, image, record, pass - 1, (int)y, (int)x, channel);
}

__device__ __forceinline__ VALUE NAME(rotated_at)(
    const NAME(program) *p, const PIXEL *image, const int *record, int pass, int y, int x, int channel)
{
    const int *row = p->passes + pass * PASS_WORDS;
    if (row[APPLIED] >= 0 && !record[row[APPLIED]]) return NAME(mapped_at)(p, image, record, pass - 1, y, x, channel);
    long long cosine = record[row[P0]], sine = record[row[P1]];
    long long down = 2LL * y - (row[HEIGHT] - 1), across = 2LL * x - (row[WIDTH] - 1);
    long long column = (row[WIDTH] - 1) * 65536LL + cosine * across - sine * down;
    long long line = (row[HEIGHT] - 1) * 65536LL + sine * across + cosine * down;
    if (row[A] == NEAREST) {
        return NAME(taken_at)(p, image, record, pass, (line + 65536) >> 17, (column + 65536) >> 17, channel);
    }
    VALUE near[4];
    for (int at = 0; at < 4; ++at) {
        near[at] = NAME(taken_at)(p, image, record, pass, (line >> 17) + at / 2, (column >> 17) + at % 2, channel);
    }
#if IS_WHOLE
    int e = (int)(column & 131071) >> 6, f = (int)(line & 131071) >> 6;
    int top = near[0] * (2048 - e) + near[1] * e, bottom = near[2] * (2048 - e) + near[3] * e;
    return (top * (2048 - f) + bottom * f + (1 << 21)) >> 22;
#else
    float e = (float)(int)(column & 131071) * 7.62939453125e-06f, f = (float)(int)(line & 131071) * 7.62939453125e-06f;
    float top = near[0] + (near[1] - near[0]) * e, bottom = near[2] + (near[3] - near[2]) * e;
    return top + (bottom - top) * f;
#endif
}

/* A pixel once all moves are made: those are the first `moved` passes. */
__device__ __forceinline__ VALUE NAME(moved_at)(
    const NAME(program) *p, const PIXEL *image, const int *record, int moved, int y, int x, int channel)
{
    int pass = moved - 1;
    const int *row = p->passes + pass * PASS_WORDS;
    if (pass > 0 && row[KIND] == MAP) { /* behind it RESIZE or ROTATE, as neighbouring maps are one */
        if (!NAME(map_back)(p, record, row[A], &y, &x)) return p->fills[row[B] * row[PLANES] * row[ITEM] + channel];
        pass -= 1;
        row -= PASS_WORDS;
    }
    if (pass < 0 || row[KIND] == MAP) return NAME(mapped_at)(p, image, record, pass, y, x, channel);
    if (row[KIND] == RESIZE) return NAME(resized_at)(p, image, record, pass, y, x, channel);
    return NAME(rotated_at)(p, image, record, pass, y, x, channel);
}

/* pixels.clip_floats. */
__device__ __forceinline__ float NAME(clipped)(float value, float most)
{
    return value < 0.0f ? 0.0f : value > most ? most : value;
}

/* pixels.blend. */
__device__ __forceinline__ VALUE NAME(blended)(VALUE value, VALUE other, int has_other, int factor)
{
#if IS_WHOLE
    int total = (value * factor + (has_other ? other * (65536 - factor) : 0) + 32768) >> 16;
    return total < 0 ? 0 : total > 255 ? 255 : total;
#else
    float total = value * ((float)factor * 1.52587890625e-05f);
    if (has_other) total = total + other * ((float)(65536 - factor) * 1.52587890625e-05f);
    return NAME(clipped)(total, 1.0f);
#endif
}

/* pixels.gray_of. */
__device__ __forceinline__ VALUE NAME(gray_of)(const VALUE *v, int channels)
{
    if (channels != 3) return v[0];
#if IS_WHOLE
    return (v[0] * 19595 + v[1] * 38470 + v[2] * 7471 + 32768) >> 16;
#else
    return v[0] * 0.299f + v[1] * 0.587f + v[2] * 0.114f;
#endif
}

/* One summand of pixels.mean_of_gray, and the mean itself. */
__device__ __forceinline__ u64 NAME(gray_part)(VALUE gray)
{
#if IS_WHOLE
    return (u64)gray;
#else
    float above = gray > 0.0f ? gray : 0.0f;
    return (u64)((above < 1.0f ? above : 1.0f) * 16777216.0f);
#endif
}

__device__ __forceinline__ VALUE NAME(gray_mean)(u64 total, u64 count)
{
#if IS_WHOLE
    return (int)((2 * total + count) / (2 * count));
#else
    return (float)((double)total / (double)(count << 24));
#endif
}

__device__ __forceinline__ VALUE NAME(gamma_of)(const PIXEL *table, VALUE value)
{
#if IS_WHOLE
    return table[value];
#else
    value = NAME(clipped)(value, 1.0f);
    if (value != value) return value;
    float cells = sqrtf(value) * (float)GAMMA_CELLS;
    int cell = (int)cells;
    cell = cell > GAMMA_CELLS - 1 ? GAMMA_CELLS - 1 : cell;
    return table[cell] + (table[cell + 1] - table[cell]) * (cells - (float)cell);
#endif
}

__device__ __forceinline__ VALUE NAME(inverted)(VALUE value)
{
#if IS_WHOLE
    return 255 - value;
#else
    return 1.0f - value;
#endif
}

__device__ __forceinline__ VALUE NAME(posterized)(VALUE value, int bits)
{
#if IS_WHOLE
    return (value >> (8 - bits)) << (8 - bits);
#else
    float levels = (float)(1 << bits), level = floorf(value * levels);
    level = level > levels - 1.0f ? levels - 1.0f : level < 0.0f ? 0.0f : level;
    return level * (1.0f / levels);
#endif
}

__device__ __forceinline__ VALUE NAME(solarized)(VALUE value, int threshold)
{
#if IS_WHOLE
    return value * 65536 >= threshold * 255 ? 255 - value : value;
#else
    return value >= (float)threshold * 1.52587890625e-05f ? 1.0f - value : value;
#endif
}

/* GaussianNoise._add; mean is in the unit of the pixels already. */
__device__ __forceinline__ VALUE NAME(noisy)(VALUE value, float mean, float sigma, float drawn, int clips)
{
#if IS_WHOLE
    sigma = sigma * 255.0f;
    float total = (float)value + (mean + drawn * sigma);
    (void)clips;
    return (int)floorf(NAME(clipped)(total, 255.0f) + 0.5f);
#else
    float total = value + (mean + drawn * sigma);
    return clips ? NAME(clipped)(total, 1.0f) : total;
#endif
}

__device__ __forceinline__ int NAME(is_erased)(const int *record, const int *row, int y, int x)
{
    int found = 0;
    for (int at = 0; at < row[A]; ++at) {
        int top = record[row[P0] + at], left = record[row[P1] + at];
        found |= y >= top && y < top + record[row[P2] + at] && x >= left && x < left + record[row[P3] + at];
    }
    return found;
}

/* All passes from `begin` to before `end` that change pixels where they are; v: some channels from `first` on. */
__device__ __forceinline__ void NAME(change)(
    const NAME(program) *p, int sample, int begin, int end, int y, int x, VALUE *v, int first, int count)
{
    const int *record = p->records + (u64)sample * p->fields;
    int contrast = 0;
    for (int pass = begin; pass < end; ++pass) {
        const int *row = p->passes + pass * PASS_WORDS;
        int kind = row[KIND], channels = row[PLANES] * row[ITEM];
        int number = contrast;
        contrast += kind == CONTRAST;
        if (row[APPLIED] >= 0 && !record[row[APPLIED]]) continue;
        int drawn = row[P0] >= 0 ? record[row[P0]] : 0;
        VALUE other = 0;
        if (kind == CONTRAST) {
            u64 pixels = (u64)row[HEIGHT] * row[WIDTH];
            other = NAME(gray_mean)(p->grays[(u64)sample * p->contrasts + number], pixels);
        } else if (kind == SATURATION || kind == GRAYSCALE) {
            other = NAME(gray_of)(v, channels);
        }
        for (int at = 0; at < count; ++at) {
            int channel = first + at;
            if (kind == BRIGHTNESS) v[at] = NAME(blended)(v[at], 0, 0, drawn);
            else if (kind == CONTRAST || kind == SATURATION) v[at] = NAME(blended)(v[at], other, 1, drawn);
            else if (kind == GRAYSCALE) v[at] = other;
            else if (kind == GAMMA) {
                u64 table = (u64)row[C] * GAMMA_STEPS + drawn;
                v[at] = NAME(gamma_of)(p->gammas + table * (IS_WHOLE ? 256 : GAMMA_CELLS + 1), v[at]);
            }
            else if (kind == INVERT) v[at] = NAME(inverted)(v[at]);
            else if (kind == POSTERIZE) v[at] = NAME(posterized)(v[at], drawn);
            else if (kind == SOLARIZE) v[at] = NAME(solarized)(v[at], drawn);
            else if (kind == ERASE) {
                if (NAME(is_erased)(record, row, y, x)) v[at] = p->fills[row[B] * channels + channel];
            }
            else if (kind == NOISE) {
                u64 plane = (u64)(channel / row[ITEM]) * row[HEIGHT] + y;
                u64 element = (plane * row[WIDTH] + x) * row[ITEM] + channel % row[ITEM];
                float drawn_normal = quantile_of(
                    element_word(p->keys + 2 * row[C], p->identity + 5 * (u64)sample, element), p->normals);
                v[at] = NAME(noisy)(v[at], int_as_float(row[A]), int_as_float(drawn), drawn_normal, row[B]);
            }
        }
    }
}

/* How many of the passes only move pixels. */
__device__ __forceinline__ int NAME(moves_of)(const NAME(program) *p)
{
    int moved = 0;
    while (moved < p->passes_count - 1 && p->passes[moved * PASS_WORDS + KIND] <= ROTATE) ++moved;
    return moved;
}

/* The sum of gray for one CONTRAST, by a thread for each line of each sample. */
KERNEL NAME(image_gray)(PROGRAM, const PIXEL *images, int pass, int number, int count)
{
    NAME(program) p = BOUND;
    const int *row = p.passes + pass * PASS_WORDS, *first = p.passes;
    u64 thread = THREAD;
    int sample = (int)(thread / row[HEIGHT]), y = (int)(thread % row[HEIGHT]);
    if (sample >= count) return;
    const int *record = p.records + (u64)sample * p.fields;
    if (row[APPLIED] >= 0 && !record[row[APPLIED]]) return;
    int channels = row[PLANES] * row[ITEM], moved = NAME(moves_of)(&p);
    const PIXEL *image = images + (u64)sample * channels * first[HEIGHT] * first[WIDTH];
    u64 total = 0;
    for (int x = 0; x < row[WIDTH]; ++x) {
        VALUE v[3];
        for (int at = 0; at < channels && at < 3; ++at) {
            v[at] = NAME(moved_at)(&p, image, record, moved, y, x, at);
        }
        NAME(change)(&p, sample, moved, pass, y, x, v, 0, channels < 3 ? channels : 3);
        total += NAME(gray_part)(NAME(gray_of)(v, channels));
    }
    add_to(p.grays + (u64)sample * p.contrasts + number, total);
}

/* The whole stage, by a thread for each pixel that comes out. size: bytes of an element of the table. */
KERNEL NAME(image_pixels)(PROGRAM, const PIXEL *images, const void *table, void *out, int size, int count)
{
    NAME(program) p = BOUND;
    const int *last = p.passes + (p.passes_count - 1) * PASS_WORDS, *first = p.passes;
    int height = last[NEW_HEIGHT], width = last[NEW_WIDTH];
    u64 thread = THREAD, pixels = (u64)height * width;
    if (thread >= pixels * count) return;
    int sample = (int)(thread / pixels), y = (int)(thread % pixels / width), x = (int)(thread % width);
    int channels = last[PLANES] * last[ITEM], moved = NAME(moves_of)(&p), group = channels == 3 ? 3 : 1;
    const int *record = p.records + (u64)sample * p.fields;
    const PIXEL *image = images + (u64)sample * channels * first[HEIGHT] * first[WIDTH];
    for (int begin = 0; begin < channels; begin += group) {
        VALUE v[3];
        for (int at = 0; at < group; ++at) {
            v[at] = NAME(moved_at)(&p, image, record, moved, y, x, begin + at);
        }
        NAME(change)(&p, sample, moved, p.passes_count - 1, y, x, v, begin, group);
        for (int at = 0; at < group; ++at) {
            int channel = begin + at;
            u64 place = NAME(place_of)(last, last[A], sample, y, x, channel);
#if IS_WHOLE
            u64 entry = (u64)channel * 256 + v[at];
            if (last[KIND] == COPY) ((u8 *)out)[place] = (u8)v[at];
            else if (size == 2) ((u16 *)out)[place] = ((const u16 *)table)[entry];
            else if (size == 4) ((u32 *)out)[place] = ((const u32 *)table)[entry];
            else ((u64 *)out)[place] = ((const u64 *)table)[entry];
#else
            float value = v[at];
            (void)size;
            if (last[KIND] == NORMALIZE) {
                const float *own = (const float *)table + 2 * channel;
                value = (value - own[0]) / own[1];
            }
            ((float *)out)[place] = value;
#endif
        }
    }
}
#undef SUM_BEGIN
#undef VALUE
