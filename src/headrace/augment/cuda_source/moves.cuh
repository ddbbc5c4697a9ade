/* Images whose pixels are moved: crops, flips and quarter turns, each map a run of them.
 *
 * This text is compiled once for each kind of element. PIXEL is the element, WIDE what is computed with, and NAME(x)
 * a name that ends in the kind.
 */

/* What one program reads, besides the images. */
typedef struct {
    const int *passes;      /* [passes][PASS_WORDS], the last one is NORMALIZE or COPY */
    const int *moves;       /* rows of all maps, [moves][PASS_WORDS] */
    const int *move_ends;   /* where the moves of each map end */
    const int *records;     /* [n][fields] */
    const u32 *identity;    /* [n][5] */
    const u32 *keys;        /* of the element draws, [rows][2] */
    const PIXEL *fills;     /* [rows][channels] */
    const PIXEL *gammas;    /* [rows][GAMMA_STEPS][256 for u8, else GAMMA_CELLS + 1] */
    const float *normals;   /* the quantile table of the normal distribution */
    u64 *grays;             /* sums of gray, [n][contrasts] */
    int passes_count, fields, contrasts;
} NAME(program);

#define PROGRAM                                                                                                \
    const int *passes, const int *moves, const int *move_ends, const int *records, const u32 *identity,        \
        const u32 *keys, const PIXEL *fills, const PIXEL *gammas, const float *normals,  \
        u64 *grays, int passes_count, int fields, int contrasts
#define BOUND                                                                                                  \
    {                                                                                                          \
        passes, moves, move_ends, records, identity, keys, fills, gammas, normals, grays,             \
            passes_count, fields, contrasts                                                                    \
    }

/* Crops, flips and quarter turns of one map: where in the image before it a pixel lies; 0 outside. */
__device__ __forceinline__ int NAME(map_back)(const NAME(program) *p, const int *record, int number, int *y, int *x)
{
    int begin = number ? p->move_ends[number - 1] : 0;
    for (int at = p->move_ends[number] - 1; at >= begin; --at) {
        const int *row = p->moves + at * PASS_WORDS;
        int drawn = record[row[P0]], bottom = row[HEIGHT] - 1, right = row[WIDTH] - 1, old_y = *y, old_x = *x;
        if (row[KIND] == CROP) {
            *y = old_y + drawn;
            *x = old_x + record[row[P1]];
        } else if (row[KIND] == FLIP_X) {
            *x = drawn ? right - old_x : old_x;
        } else if (row[KIND] == FLIP_Y) {
            *y = drawn ? bottom - old_y : old_y;
        } else {
            int turns = drawn & 3;
            *y = turns == 1 ? old_x : turns == 2 ? bottom - old_y : turns == 3 ? bottom - old_x : old_y;
            *x = turns == 1 ? right - old_y : turns == 2 ? right - old_x : turns == 3 ? old_y : old_x;
        }
        if (*y < 0 || *y > bottom || *x < 0 || *x > right) return 0;
    }
    return 1;
}

__device__ __forceinline__ WIDE NAME(pixel_at)(const PIXEL *image, const int *row, int y, int x, int channel)
{
    int item = row[ITEM];
    u64 place = ((u64)(channel / item) * row[HEIGHT] + y) * row[WIDTH] + x;
    return image[place * item + channel % item];
}

/* A pixel after the passes up to `pass` that come before RESIZE or ROTATE: at most one map. */
__device__ __forceinline__ WIDE NAME(mapped_at)(
    const NAME(program) *p, const PIXEL *image, const int *record, int pass, int y, int x, int channel)
{
    const int *row = p->passes + pass * PASS_WORDS;
    if (pass < 0) return NAME(pixel_at)(image, p->passes, y, x, channel);
    if (!NAME(map_back)(p, record, row[A], &y, &x)) return p->fills[row[B] * row[PLANES] * row[ITEM] + channel];
    return NAME(pixel_at)(image, row, y, x, channel);
}

/* Where the element of a pixel goes; layout 1: planes become items, 2: items become planes. */
__device__ __forceinline__ u64 NAME(place_of)(const int *last, int layout, int sample, int y, int x, int channel)
{
    int height = last[NEW_HEIGHT], width = last[NEW_WIDTH], channels = last[PLANES] * last[ITEM];
    int is_plane = layout == 0 ? last[PLANES] > 1 : layout == 2;
    u64 place = is_plane ? ((u64)channel * height + y) * width + x : ((u64)y * width + x) * channels + channel;
    return place + (u64)sample * channels * height * width;
}

/* One map and nothing else, by a thread for each pixel that comes out. */
KERNEL NAME(image_moves)(PROGRAM, const PIXEL *images, PIXEL *out, int count)
{
    NAME(program) p = BOUND;
    const int *row = p.passes;
    u64 thread = THREAD, pixels = (u64)row[NEW_HEIGHT] * row[NEW_WIDTH];
    if (thread >= pixels * count) return;
    int sample = (int)(thread / pixels), y = (int)(thread % pixels / row[NEW_WIDTH]);
    int x = (int)(thread % row[NEW_WIDTH]), channels = row[PLANES] * row[ITEM];
    const int *record = p.records + (u64)sample * p.fields;
    const PIXEL *image = images + (u64)sample * channels * row[HEIGHT] * row[WIDTH];
    for (int channel = 0; channel < channels; ++channel) {
        out[NAME(place_of)(row, 0, sample, y, x, channel)] =
            (PIXEL)NAME(mapped_at)(&p, image, record, 0, y, x, channel);
    }
}
