/* Values that come from elsewhere: SwapNoise, FeatureDropout and CutMix, a thread for each element.
 *
 * This text is compiled once for each size of elements, which are never computed with.
 */

/* Feature f of a sample is another one if its word f is below its limit; apart: elements from one sample of the others
 * to the next, 0 where all samples share one.
 */
KERNEL NAME(choose)(const int *records, const u32 *identity, const u32 *key, const u64 *limits, const PIXEL *own,
                    const PIXEL *other, PIXEL *out, int features, int apart, int gate, int fields, int count)
{
    u64 thread = THREAD, sample = thread / features, feature = thread % features;
    if (sample >= (u64)count) return;
    int is_other = records[sample * fields + gate] != 0
                   && (u64)element_word(key, identity + 5 * sample, feature) < limits[feature];
    out[thread] = is_other ? other[sample * apart + feature] : own[thread];
}

/* What lies in a sample's box comes from its partner; box: where in the record top, bottom, left and right are. */
KERNEL NAME(paste)(const int *records, const PIXEL *own, const PIXEL *other, PIXEL *out, int planes, int height,
                   int width, int item, int box, int fields, int count)
{
    u64 thread = THREAD, place = thread / item, sample = place / ((u64)planes * height * width);
    if (sample >= (u64)count) return;
    int x = (int)(place % width), y = (int)(place / width % height);
    const int *sides = records + sample * fields + box;
    int is_other = y >= sides[0] && y < sides[1] && x >= sides[2] && x < sides[3];
    out[thread] = is_other ? other[thread] : own[thread];
}
