/* The engine's pixel loops in one pass each, the same bits as the NumPy and OpenCV calls beside them.
 *
 * Bits: every float operation below is one IEEE 754 operation of the NumPy path, in its order. Build without contraction
 * into fused multiply-adds and without fast-math (setup.py); then the instruction set changes speed alone, and
 * functions may be compiled for several of them. Images are planar, 3 x height x width floats.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define KERNEL EXPORT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KERNEL EXPORT
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define APART _Pragma("clang loop vectorize(assume_safety)") /* the arrays of the loop that follows do not overlap */
#else
#define APART _Pragma("GCC ivdep")
#endif
#define BARRIER __asm__ volatile(""); /* the loop around it is not vectorised */
#else
#define INLINE static inline
#define APART
#define BARRIER
#endif

/* What the library was built from: setup.py sets it, compiled.py asks for it. */
#if defined(SOURCE_SHA256)
EXPORT const char *source_sha256(void) { return SOURCE_SHA256; }
#endif

enum { CHUNK = 2048 }; /* pixels whose random numbers lie in the first-level cache */
/* Columns of a tile: what a row of it needs stays in the first-level cache. Two boxes reach HALO columns over. */
enum { TILE = 512, HALO = 2, WIDE = TILE + 2 * HALO, LANES = 16, PADDED = WIDE + LANES };

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE float clipped(float x, float low, float high) { x = x > low ? x : low; return x < high ? x : high; }

/* A number that the compiler does not know: of bounds that it knows it makes four comparisons, not a maximum and a minimum. */
INLINE float unknown(float x) { volatile float hidden = x; return hidden; }

/* Have `bytes` from there in the cache, before they are needed. */
INLINE void soon(const void *from, size_t bytes) {
#if defined(__GNUC__)
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)from + i, 0, 3);
#endif
}
INLINE void soon_written(void *from, size_t bytes) {
#if defined(__GNUC__)
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((char *)from + i, 1, 3);
#endif
}

/* x in [0, 2^22) to the nearest integer, half to even: the sum has no room for a fraction. */
INLINE uint32_t rounded(float x) {
    union { float value; uint32_t bits; } sum;
    sum.value = x + 8388608.0f;
    return sum.bits & 0x7fffff;
}

/* ---- random numbers ---- */

typedef union { uint64_t words[CHUNK / 4 + 2]; uint16_t numbers[CHUNK + 8]; } Random;

/* Numbers begin .. begin + count of a stream of 16-bit ones (SplitMix64 of a counter), count <= CHUNK; where they are. */
INLINE const uint16_t *random_chunk(uint64_t stream, size_t begin, size_t count, Random *room) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    const size_t first = begin / 4, total = (begin + count + 3) / 4 - first;
    const uint64_t start = stream + golden * (first + 1);
    for (size_t i = 0; i < total; i++) {
        uint64_t z = start + golden * i;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        room->words[i] = z ^ (z >> 31);
    }
    return room->numbers + begin % 4;
}

KERNEL void random_bits(uint64_t stream, size_t begin, size_t count, uint16_t *out) {
    Random room;
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        memcpy(out + done, random_chunk(stream, begin + done, n, &room), n * sizeof *out);
    }
}

KERNEL void normal_numbers(uint64_t stream, size_t count, const float *table, float *out) {
    Random room;
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        const uint16_t *bits = random_chunk(stream, done, n, &room);
        for (size_t i = 0; i < n; i++) out[done + i] = table[bits[i]];
    }
}

/* Entries of a table, eight by eight: a loop over one each is made into slower code. */
#define GATHERED(NAME, NUMBER)                                                                                        \
    INLINE void NAME(const float *restrict table, const NUMBER *restrict at, size_t count, float *restrict out) {     \
        size_t i = 0;                                                                                                 \
        for (; i + 8 <= count; i += 8) {                                                                              \
            BARRIER                                                                                                   \
            out[i] = table[at[i]], out[i + 1] = table[at[i + 1]];                                                     \
            out[i + 2] = table[at[i + 2]], out[i + 3] = table[at[i + 3]];                                             \
            out[i + 4] = table[at[i + 4]], out[i + 5] = table[at[i + 5]];                                             \
            out[i + 6] = table[at[i + 6]], out[i + 7] = table[at[i + 7]];                                             \
        }                                                                                                             \
        for (; i < count; i++) {                                                                                      \
            BARRIER                                                                                                   \
            out[i] = table[at[i]];                                                                                    \
        }                                                                                                             \
    }
GATHERED(gathered_16, uint16_t)
GATHERED(gathered_32, uint32_t)

/* Add sigma n to `count` pixels whose random numbers start at `begin`; sigma is times `map` unless that is NULL. */
INLINE void noisy(const float *image, const float *map, float sigma, int clip, uint64_t stream, size_t begin,
                  size_t count, const float *table, float *out) {
    const float zero = unknown(0), one = unknown(1);
    Random room;
    float noise[CHUNK];
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        const uint16_t *bits = random_chunk(stream, begin + done, n, &room);
        const float *x = image + done;
        float *y = out + done;
        gathered_16(table, bits, n, noise);
        if (map) for (size_t i = 0; i < n; i++) y[i] = x[i] + noise[i] * (map[done + i] * sigma);
        else for (size_t i = 0; i < n; i++) y[i] = x[i] + noise[i] * sigma;
        if (clip) for (size_t i = 0; i < n; i++) y[i] = clipped(y[i], zero, one);
    }
}

/* image + sigma n, sigma times a map of `pixels` floats unless that is NULL. out may be image. */
KERNEL void add_noise(const float *image, const float *map, float sigma, int clip, uint64_t stream, size_t pixels,
                      const float *table, float *out) {
    for (size_t c = 0; c < 3; c++)
        noisy(image + c * pixels, map, sigma, clip, stream, c * pixels, pixels, table, out + c * pixels);
}

/* ---- 8 bits and planes ---- */

KERNEL void to_planes(const uint8_t *restrict rgb, size_t pixels, float level, float *restrict planes) {
    float *restrict red = planes, *restrict green = planes + pixels, *restrict blue = planes + 2 * pixels;
    for (size_t i = 0; i < pixels; i++) {
        red[i] = (float)rgb[3 * i] * level;
        green[i] = (float)rgb[3 * i + 1] * level;
        blue[i] = (float)rgb[3 * i + 2] * level;
    }
}

INLINE void brightest_of(const uint8_t *restrict rgb, size_t pixels, float level, float *restrict most) {
    APART
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t two = rgb[3 * i] > rgb[3 * i + 1] ? rgb[3 * i] : rgb[3 * i + 1];
        most[i] = (float)(two > rgb[3 * i + 2] ? two : rgb[3 * i + 2]) * level;
    }
}

/* Beyond the integers OpenCV gives 0. */
INLINE void levels_of(const float *restrict x, size_t count, uint8_t *restrict levels) {
    const float zero = unknown(0), most = unknown(255), beyond = unknown(2147483648.0f);
    for (size_t i = 0; i < count; i++) {
        const float y = (x[i] > zero ? x[i] : zero) * 255.0f, z = y < most ? y : most;
        levels[i] = (uint8_t)rounded(y < beyond ? z : 0);
    }
}

KERNEL void quantise(const float *restrict planes, size_t pixels, uint8_t *restrict rgb) {
    const float *red = planes, *green = planes + pixels, *blue = planes + 2 * pixels;
    uint8_t levels[3][CHUNK];
    for (size_t done = 0; done < pixels; done += CHUNK) {
        const size_t n = least(CHUNK, pixels - done);
        levels_of(red + done, n, levels[0]);
        levels_of(green + done, n, levels[1]);
        levels_of(blue + done, n, levels[2]);
        uint8_t *to = rgb + 3 * done;
        for (size_t i = 0; i < n; i++) {
            to[3 * i] = levels[0][i];
            to[3 * i + 1] = levels[1][i];
            to[3 * i + 2] = levels[2][i];
        }
    }
}

/* ---- tables ---- */

/* Entries at the positions values times scale, to the nearest, in at most TILE pieces; out may be values. */
INLINE void looked_up(const float *entries, float last, float scale, const float *values, size_t count, float *out) {
    const float zero = unknown(0);
    uint32_t place[TILE];
    for (size_t i = 0; i < count; i++) place[i] = rounded(clipped(values[i] * scale, zero, last));
    gathered_32(entries, place, count, out);
}

KERNEL void lookup(const float *entries, size_t count, const float *values, float scale, size_t pixels, float *out) {
    for (size_t done = 0; done < pixels; done += TILE)
        looked_up(entries, (float)(count - 1), scale, values + done, least(TILE, pixels - done), out + done);
}

/* e^x: range reduction, then the Taylor polynomial of degree 13. */
KERNEL void exponentials(const double *restrict x, size_t count, double *restrict out) {
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        double k[CHUNK], *restrict total = out + done;
        int far = 0;
        for (size_t i = 0; i < n; i++) {
            const double high = 0.693147180369123816490, low = 1.90821492927058770002e-10;
            k[i] = rint(x[done + i] / (high + low));
            const double r = (x[done + i] - k[i] * high) - k[i] * low;
            double sum = 1;
            for (int term = 13; term > 0; term--) sum = sum * r / term + 1.0;
            total[i] = sum;
            far |= !(k[i] > -1000 && k[i] < 1000);
        }
        if (far) {
            for (size_t i = 0; i < n; i++) total[i] = ldexp(total[i], (int)k[i]);
            continue;
        }
        for (size_t i = 0; i < n; i++) { /* 2^k by its bits; the product is exact */
            union { double value; uint64_t bits; } sum, power;
            sum.value = k[i] + 1023 + 4503599627370496.0;
            power.bits = sum.bits << 52;
            total[i] *= power.value;
        }
    }
}

/* ---- one pass over the image ---- */

/* What happens to a pixel, one after the other; compiled.py has the same numbers and fields. Maps are height x width and
 * may be NULL where that means something: strength 1, factor 1, no severity. */
enum { RELIGHT, ADD, VEIL, NOISE };
typedef struct {
    int32_t kind, again, halved, clip;
    uint64_t stream;
    const float *strength, *map, *factor, *table;
    float *severity; /* where the component's severity goes; what is there already stays where it is larger, if `again` */
    float amount, scale, last, rgb[3];
} Step;

/* From `pixels` (interleaved) or `planes` through the steps to `levels` (interleaved) or `out`, the others NULL. A RELIGHT
 * can only be the first step. */
typedef struct {
    const uint8_t *pixels;
    const float *planes, *normal;
    uint8_t *levels;
    float *out;
    const Step *steps;
    size_t height, width, strip, count;
    float level;
} Pass;

typedef struct { float rgb[3][TILE]; } Segment;

INLINE void read_segment(const Pass *p, size_t at, size_t count, Segment *to) {
    if (p->pixels) {
        const uint8_t *restrict rgb = p->pixels + 3 * at;
        for (size_t i = 0; i < count; i++) {
            to->rgb[0][i] = (float)rgb[3 * i] * p->level;
            to->rgb[1][i] = (float)rgb[3 * i + 1] * p->level;
            to->rgb[2][i] = (float)rgb[3 * i + 2] * p->level;
        }
    } else {
        for (size_t c = 0; c < 3; c++)
            memcpy(to->rgb[c], p->planes + c * p->height * p->width + at, count * sizeof(float));
    }
}

INLINE void write_segment(const Pass *p, size_t at, size_t count, const Segment *from) {
    if (p->levels) {
        uint8_t levels[3][TILE], *restrict rgb = p->levels + 3 * at;
        for (size_t c = 0; c < 3; c++) levels_of(from->rgb[c], count, levels[c]);
        for (size_t i = 0; i < count; i++) {
            rgb[3 * i] = levels[0][i];
            rgb[3 * i + 1] = levels[1][i];
            rgb[3 * i + 2] = levels[2][i];
        }
    } else {
        for (size_t c = 0; c < 3; c++)
            memcpy(p->out + c * p->height * p->width + at, from->rgb[c], count * sizeof(float));
    }
}

INLINE void keep_severity(const Step *s, size_t at, size_t count, const float *restrict found) {
    if (!s->severity) return;
    float *restrict to = s->severity + at;
    if (s->again) for (size_t i = 0; i < count; i++) to[i] = found[i] > to[i] ? found[i] : to[i];
    else for (size_t i = 0; i < count; i++) to[i] = found[i] > 0 ? found[i] : 0;
}

/* The same everywhere, times strength. */
INLINE void keep_amount(const Step *s, size_t at, size_t count) {
    float found[TILE];
    for (size_t i = 0; i < count; i++) found[i] = s->amount;
    if (s->strength) for (size_t i = 0; i < count; i++) found[i] *= s->strength[at + i];
    keep_severity(s, at, count, found);
}

/* J g with g looked up at the illumination; rgb is exposure, amount the share of light that the darkest channel loses. */
INLINE void relight(const Step *s, size_t at, size_t count, float *restrict gain, Segment *x) {
    const float *restrict strength = s->strength ? s->strength + at : NULL;
    const float loss = s->amount;
    float kept[TILE];
    looked_up(s->table, s->last, s->scale, gain, count, gain);
    if (strength) for (size_t i = 0; i < count; i++) gain[i] = 1 - strength[i] * (1 - gain[i]);
    if (loss == 0) for (size_t i = 0; i < count; i++) kept[i] = gain[i];
    else if (strength) for (size_t i = 0; i < count; i++) kept[i] = gain[i] * (1 - strength[i] * loss);
    else for (size_t i = 0; i < count; i++) kept[i] = gain[i] * (1 - loss);
    for (size_t i = 0; i < count; i++) kept[i] = 1 - kept[i];
    keep_severity(s, at, count, kept);
    for (size_t c = 0; c < 3; c++) {
        const float exposure = s->rgb[c];
        float *restrict dark = x->rgb[c];
        for (size_t i = 0; i < count; i++) dark[i] *= gain[i];
        if (exposure != 1 && strength) for (size_t i = 0; i < count; i++) dark[i] *= 1 - strength[i] * (1 - exposure);
        else if (exposure != 1) for (size_t i = 0; i < count; i++) dark[i] *= exposure;
    }
}

/* J + R, with R at half the height if `halved`, enlarged as OpenCV does; amount is the severity. */
INLINE void add(const Step *s, size_t row, size_t left, size_t at, size_t count, size_t width, size_t height, Segment *x) {
    float layer[TILE];
    if (s->halved) {
        const size_t last = (height + 1) / 2 - 1, below = least((row + 1) / 2, last), above = row == 0 ? 0 : (row - 1) / 2;
        const float *restrict high = s->map + above * width + left, *restrict low = s->map + below * width + left;
        const float share = row % 2 ? 0.25f : 0.75f;
        for (size_t i = 0; i < count; i++) layer[i] = high[i] * (1 - share) + low[i] * share;
    } else {
        memcpy(layer, s->map + at, count * sizeof(float));
    }
    if (s->strength) for (size_t i = 0; i < count; i++) layer[i] *= s->strength[at + i];
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < count; i++) x->rgb[c][i] += layer[i];
    keep_amount(s, at, count);
}

/* A + (J - A) t with t looked up at the distance 1 - map, capped at amount, times the maps that are not NULL; rgb is A. */
INLINE void veil(const Step *s, size_t at, size_t count, Segment *x) {
    float t[TILE], lost[TILE];
    const float *restrict near = s->map + at, *restrict factor = s->factor ? s->factor + at : NULL;
    const float *restrict strength = s->strength ? s->strength + at : NULL;
    const float cap = s->amount;
    for (size_t i = 0; i < count; i++) {
        const float far = 1 - near[i];
        t[i] = far < cap ? far : cap;
    }
    if (s->factor) for (size_t i = 0; i < count; i++) t[i] *= factor[i];
    if (s->strength) for (size_t i = 0; i < count; i++) t[i] *= strength[i];
    looked_up(s->table, s->last, s->scale, t, count, t);
    for (size_t i = 0; i < count; i++) lost[i] = 1 - t[i];
    keep_severity(s, at, count, lost);
    for (size_t c = 0; c < 3; c++) {
        const float airlight = s->rgb[c];
        float *restrict hazy = x->rgb[c];
        for (size_t i = 0; i < count; i++) hazy[i] = (hazy[i] - airlight) * t[i] + airlight;
    }
}

/* J + sigma n, sigma being amount; severity is min(sigma scale, 1). */
INLINE void add_noise_to(const Step *s, const Pass *p, size_t at, size_t count, Segment *x) {
    const float *strength = s->strength ? s->strength + at : NULL;
    for (size_t c = 0; c < 3; c++)
        noisy(x->rgb[c], strength, s->amount, s->clip, s->stream, c * p->height * p->width + at, count, p->normal,
              x->rgb[c]);
    if (!s->severity) return;
    float found[TILE];
    for (size_t i = 0; i < count; i++) found[i] = s->amount;
    if (strength) for (size_t i = 0; i < count; i++) found[i] *= strength[i];
    const float zero = unknown(0), one = unknown(1);
    for (size_t i = 0; i < count; i++) found[i] = clipped(found[i] * s->scale, zero, one);
    keep_severity(s, at, count, found);
}

/* Columns left .. left + count of a row through all steps; gain is its illumination where the first of them relights. */
INLINE void through(const Pass *p, size_t row, size_t left, size_t count, float *restrict gain) {
    const size_t at = row * p->width + left;
    Segment x;
    if (row + 1 < p->height) {
        const size_t next = at + p->width;
        for (const Step *s = p->steps; s < p->steps + p->count; s++) {
            if (s->map && s->kind != RELIGHT) {
                if (!s->halved) soon(s->map + next, 4 * count);
                else soon(s->map + least((row + 2) / 2, (p->height + 1) / 2 - 1) * p->width + left, 4 * count);
            }
            if (s->strength) soon(s->strength + next, 4 * count);
            if (s->factor) soon(s->factor + next, 4 * count);
            if (s->severity) soon_written(s->severity + next, 4 * count);
        }
        if (p->levels) soon_written(p->levels + 3 * next, 3 * count);
    }
    read_segment(p, at, count, &x);
    for (const Step *s = p->steps; s < p->steps + p->count; s++) {
        switch (s->kind) {
        case RELIGHT: relight(s, at, count, gain, &x); break;
        case ADD: add(s, row, left, at, count, p->width, p->height, &x); break;
        case VEIL: veil(s, at, count, &x); break;
        case NOISE: add_noise_to(s, p, at, count, &x); break;
        }
    }
    write_segment(p, at, count, &x);
}

INLINE size_t mirrored(ptrdiff_t i, size_t n) { /* border 101 */
    if (n == 1) return 0;
    if (i < 0) return (size_t)-i;
    return (size_t)i < n ? (size_t)i : 2 * n - 2 - (size_t)i;
}

/* A row with a mirrored value on either side, and zeros behind it to whole vectors: no loop over it has a rest. */
typedef struct { float all[WIDE + 2 + LANES]; } Row;

INLINE size_t whole(size_t n) { return (n + LANES - 1) & ~(size_t)(LANES - 1); }

INLINE void mirror_ends(Row *row, size_t n) {
    row->all[0] = row->all[1 + mirrored(-1, n)];
    row->all[n + 1] = row->all[1 + mirrored((ptrdiff_t)n, n)];
    memset(row->all + n + 2, 0, LANES * sizeof *row->all);
}

/* The sum over three neighbours in a row, in double as OpenCV's box filter takes it. */
INLINE double three(const float *left) { return (double)left[0] + (double)left[1] + (double)left[2]; }

INLINE void row_sums(const Row *row, size_t n, double *restrict out) {
    APART
    for (size_t i = 0; i < whole(n); i++) out[i] = three(row->all + i);
}

/* A 3 x 3 box mean that moves down: sums of the last three rows, and the running sum of two of them, which keeps its
 * rounding errors from row to row just as OpenCV's does. */
typedef struct { double rows[3][PADDED], sum[PADDED]; } Box;

INLINE void box_start(Box *box, size_t height, size_t width) {
    const double *above = box->rows[mirrored(-1, height) % 3], *first = box->rows[0];
    for (size_t i = 0; i < whole(width); i++) box->sum[i] = above[i] + first[i];
}

INLINE float box_next(double *restrict sum, double below, double above) {
    const double total = *sum + below;
    *sum = total - above;
    return (float)(total * (1.0 / 9));
}

/* What the guided filter keeps of a tile while it moves down it. */
typedef struct {
    Row guide[3], luma, product, square, slope, offset;
    Box guides, lumas, products, squares, slopes, offsets;
} Guided;

/* Take in row `next` of the tile, row `row` of the image. */
INLINE void guided_read(Guided *f, const Pass *p, size_t next, size_t row, size_t left, size_t width) {
    const size_t at = row * p->width + left, pixels = p->height * p->width;
    const float *restrict light = p->steps->map + at;
    if (row + 1 < p->height) {
        soon(light + p->width, 4 * width);
        if (p->pixels) soon(p->pixels + 3 * (at + p->width), 3 * width);
    }
    float *restrict guide = f->guide[next % 3].all + 1, *restrict luma = f->luma.all + 1;
    float *restrict product = f->product.all + 1, *restrict square = f->square.all + 1;
    const float reds = (float)(3735 * 255.0 / 32768), greens = (float)(19235 * 255.0 / 32768);
    const float blues = (float)(9798 * 255.0 / 32768);
    if (p->pixels) {
        const uint8_t *restrict rgb = p->pixels + 3 * at;
        APART
        for (size_t i = 0; i < width; i++) {
            float grey = (float)rgb[3 * i] * p->level * reds;
            grey += (float)rgb[3 * i + 1] * p->level * greens;
            grey += (float)rgb[3 * i + 2] * p->level * blues;
            luma[i] = floorf(grey + 0.5f) / 255.0f;
        }
    } else {
        const float *restrict red = p->planes + at, *restrict green = red + pixels, *restrict blue = green + pixels;
        APART
        for (size_t i = 0; i < width; i++) {
            float grey = red[i] * reds;
            grey += green[i] * greens;
            grey += blue[i] * blues;
            luma[i] = floorf(grey + 0.5f) / 255.0f;
        }
    }
    APART
    for (size_t i = 0; i < width; i++) {
        guide[i] = light[i];
        product[i] = light[i] * luma[i];
        square[i] = light[i] * light[i];
    }
    mirror_ends(&f->guide[next % 3], width);
    mirror_ends(&f->luma, width);
    mirror_ends(&f->product, width);
    mirror_ends(&f->square, width);
    if (next > 1) return; /* guided_fit does it as it goes */
    row_sums(&f->guide[next], width, f->guides.rows[next]);
    row_sums(&f->luma, width, f->lumas.rows[next]);
    row_sums(&f->product, width, f->products.rows[next]);
    row_sums(&f->square, width, f->squares.rows[next]);
}

/* Slope and offset of row r of the tile; sums over the row below it are taken here unless it is the second one. */
INLINE void guided_fit(Guided *f, size_t r, size_t height, size_t width, int fresh) {
    const size_t below = mirrored((ptrdiff_t)r + 1, height) % 3, above = mirrored((ptrdiff_t)r - 1, height) % 3;
    const float *guide_row = f->guide[(r + 1) % 3].all, *luma_row = f->luma.all;
    const float *product_row = f->product.all, *square_row = f->square.all;
    double *guides_below = f->guides.rows[below], *lumas_below = f->lumas.rows[below];
    double *products_below = f->products.rows[below], *squares_below = f->squares.rows[below];
    const double *guides_above = f->guides.rows[above], *lumas_above = f->lumas.rows[above];
    const double *products_above = f->products.rows[above], *squares_above = f->squares.rows[above];
    float *slope = f->slope.all + 1, *offset = f->offset.all + 1;
    APART
    for (size_t i = 0; i < whole(width); i++) {
        const double guides = fresh ? three(guide_row + i) : guides_below[i];
        const double lumas = fresh ? three(luma_row + i) : lumas_below[i];
        const double products = fresh ? three(product_row + i) : products_below[i];
        const double squares = fresh ? three(square_row + i) : squares_below[i];
        const float guide = box_next(f->guides.sum + i, guides, guides_above[i]);
        const float luma = box_next(f->lumas.sum + i, lumas, lumas_above[i]);
        const float product = box_next(f->products.sum + i, products, products_above[i]);
        const float square = box_next(f->squares.sum + i, squares, squares_above[i]);
        const float steep = (product - guide * luma) / (square - guide * guide + 0.01f);
        guides_below[i] = guides;
        lumas_below[i] = lumas;
        products_below[i] = products;
        squares_below[i] = squares;
        slope[i] = steep;
        offset[i] = luma - steep * guide;
    }
    mirror_ends(&f->slope, width);
    mirror_ends(&f->offset, width);
    if (r > 1) return; /* guided_mean does it as it goes */
    row_sums(&f->slope, width, f->slopes.rows[r]);
    row_sums(&f->offset, width, f->offsets.rows[r]);
}

/* The illumination of row r of the tile, in the same way. */
INLINE void guided_mean(Guided *f, size_t r, size_t height, size_t width, float *out, int fresh) {
    const float zero = unknown(0), most = unknown(3e38f);
    const float *light = f->guide[r % 3].all + 1, *slope_row = f->slope.all, *offset_row = f->offset.all;
    const size_t below = mirrored((ptrdiff_t)r + 1, height) % 3, above = mirrored((ptrdiff_t)r - 1, height) % 3;
    double *slopes_below = f->slopes.rows[below], *offsets_below = f->offsets.rows[below];
    const double *slopes_above = f->slopes.rows[above], *offsets_above = f->offsets.rows[above];
    APART
    for (size_t i = 0; i < whole(width); i++) {
        const double slopes = fresh ? three(slope_row + i) : slopes_below[i];
        const double offsets = fresh ? three(offset_row + i) : offsets_below[i];
        const float slope = box_next(f->slopes.sum + i, slopes, slopes_above[i]);
        const float offset = box_next(f->offsets.sum + i, offsets, offsets_above[i]);
        slopes_below[i] = slopes;
        offsets_below[i] = offsets;
        out[i] = clipped(slope * light[i] + offset, zero, most) + 1e-7f;
    }
}

/* Rows start .. stop and columns from .. to of the image. For the guided filter rows top .. top + n and columns left .. right
 * are taken as if there were no others, so that what lies at their borders is wrong unless the image ends there. */
INLINE void tile_through(const Pass *p, int guided, size_t top, size_t n, size_t left, size_t right, size_t start,
                         size_t stop, size_t from, size_t to) {
    Guided f;
    float gain[PADDED];
    const size_t w = right - left;
    size_t next = 0;
    for (size_t r = guided ? 0 : start + 1 - top; r <= n; r++) {
        if (guided) {
            for (; next < n && next <= r + 1; next++) guided_read(&f, p, next, top + next, left, w);
            if (r == 0) {
                box_start(&f.guides, n, w);
                box_start(&f.lumas, n, w);
                box_start(&f.products, n, w);
                box_start(&f.squares, n, w);
            }
            if (r > 0 && r + 1 < n) guided_fit(&f, r, n, w, 1);
            else if (r < n) guided_fit(&f, r, n, w, 0);
            if (r == 0) continue;
            if (r == 1) {
                box_start(&f.slopes, n, w);
                box_start(&f.offsets, n, w);
            }
            if (r > 1 && r < n) guided_mean(&f, r - 1, n, w, gain, 1);
            else guided_mean(&f, r - 1, n, w, gain, 0);
        }
        const size_t row = top + r - 1;
        if (row >= start && row < stop) through(p, row, from, to - from, gain + (from - left));
    }
}

/* All steps. The guided filter of luma by light begins anew with each strip of rows. */
KERNEL void pass(const Pass *p) {
    const size_t tiles = (p->width + TILE - 1) / TILE;
    const int guided = p->count > 0 && p->steps->kind == RELIGHT;
    for (size_t start = 0; start < p->height; start += p->strip) {
        const size_t stop = least(start + p->strip, p->height);
        const size_t top = start < HALO ? 0 : start - HALO, bottom = least(stop + HALO, p->height);
        for (size_t tile = 0; tile < tiles; tile++) {
            const size_t from = tile * p->width / tiles, to = (tile + 1) * p->width / tiles;
            const size_t left = from < HALO ? 0 : from - HALO, right = least(to + HALO, p->width);
            tile_through(p, guided, top, bottom - top, left, right, start, stop, from, to);
        }
    }
}

/* ---- maps ---- */

/* Where OpenCV's bilinear enlargement from `length` to `large` reads for `to`: at `from` and the next, shared so. */
INLINE float enlarged_from(size_t to, size_t length, size_t large, ptrdiff_t *from) {
    const double scale = 1.0 / ((double)large / (double)length);
    const float position = (float)(((double)to + 0.5) * scale - 0.5), whole = floorf(position);
    *from = (ptrdiff_t)whole;
    return position - whole;
}

/* Columns of a small row, enlarged. */
typedef struct { uint32_t first[TILE], second[TILE]; float share[TILE]; } Columns;

INLINE void columns_of(Columns *c, size_t from, size_t count, size_t length, size_t large) {
    for (size_t i = 0; i < count; i++) {
        ptrdiff_t at;
        const float share = enlarged_from(from + i, length, large, &at);
        const int inside = at >= 0 && (size_t)at + 1 < length;
        c->first[i] = (uint32_t)(at < 0 ? 0 : (size_t)at < length ? (size_t)at : length - 1);
        c->second[i] = c->first[i] + (uint32_t)inside;
        c->share[i] = inside ? share : 0;
    }
}

INLINE void enlarge_columns(const Columns *c, size_t count, const float *row, float *restrict out) {
    for (size_t i = 0; i < count; i++)
        out[i] = row[c->first[i]] * (1 - c->share[i]) + row[c->second[i]] * c->share[i];
}

/* Rows `at` and the next one of a small map, their columns enlarged; `ready` and the next one are there, each at its last bit. */
INLINE void enlarge_rows(const Columns *c, size_t count, const float *small, size_t low, size_t narrow, ptrdiff_t ready,
                         ptrdiff_t at, float (*rows)[TILE]) {
    const ptrdiff_t last = (ptrdiff_t)low - 1;
    for (ptrdiff_t wanted = at == ready + 1 ? at + 1 : at; at != ready && wanted <= at + 1; wanted++)
        enlarge_columns(c, count, small + narrow * (size_t)(wanted < 0 ? 0 : wanted < last ? wanted : last), rows[wanted & 1]);
}

/* slope b + offset, clipped to [1e-3, 1], b the brightest channel and slope and offset enlarged from `small`, one behind the
 * other, low x narrow. */
KERNEL void light(const uint8_t *restrict rgb, float level, const float *small, size_t low, size_t narrow, size_t height,
                  size_t width, float *restrict out) {
    const float least_light = unknown(1e-3f), one = unknown(1);
    Columns columns;
    float slope[2][TILE], offset[2][TILE];
    for (size_t left = 0; left < width; left += TILE) {
        const size_t n = least(TILE, width - left);
        ptrdiff_t ready = -3; /* rows `ready` and the next one lie enlarged in slope and offset */
        columns_of(&columns, left, n, narrow, width);
        for (size_t y = 0; y < height; y++) {
            ptrdiff_t at;
            const float share = enlarged_from(y, low, height, &at);
            enlarge_rows(&columns, n, small, low, narrow, ready, at, slope);
            enlarge_rows(&columns, n, small + low * narrow, low, narrow, ready, at, offset);
            ready = at;
            const float *high_slope = slope[at & 1], *low_slope = slope[(at + 1) & 1];
            const float *high_offset = offset[at & 1], *low_offset = offset[(at + 1) & 1];
            float bright[TILE], *restrict to = out + y * width + left;
            if (y + 1 < height) {
                soon(rgb + 3 * ((y + 1) * width + left), 3 * n);
                soon_written(to + width, sizeof *to * n);
            }
            brightest_of(rgb + 3 * (y * width + left), n, level, bright);
            APART
            for (size_t i = 0; i < n; i++) {
                const float steep = high_slope[i] * (1 - share) + low_slope[i] * share;
                const float above = high_offset[i] * (1 - share) + low_offset[i] * share;
                to[i] = clipped(steep * bright[i] + above, least_light, one);
            }
        }
    }
}

/* A map enlarged from low x narrow as OpenCV does it between neighbours, then `factor` times as large and `more` more. */
KERNEL void enlarged(const float *small, size_t low, size_t narrow, float factor, float more, size_t height, size_t width,
                     float *restrict out) {
    Columns columns;
    float row[2][TILE];
    for (size_t left = 0; left < width; left += TILE) {
        const size_t n = least(TILE, width - left);
        ptrdiff_t ready = -3; /* rows `ready` and the next one lie enlarged in `row` */
        columns_of(&columns, left, n, narrow, width);
        for (size_t y = 0; y < height; y++) {
            ptrdiff_t at;
            const float share = enlarged_from(y, low, height, &at);
            enlarge_rows(&columns, n, small, low, narrow, ready, at, row);
            ready = at;
            const float *upper = row[at & 1], *lower = row[(at + 1) & 1];
            float *restrict to = out + y * width + left;
            if (y + 1 < height) soon_written(to + width, sizeof *to * n);
            APART
            for (size_t i = 0; i < n; i++) to[i] = (upper[i] * (1 - share) + lower[i] * share) * factor + more;
        }
    }
}

/* The brightest channel, a quarter of its size in height and width (which 4 divides), as OpenCV takes means over areas. */
KERNEL void quartered(const uint8_t *restrict rgb, float level, size_t height, size_t width, float *restrict out) {
    for (size_t y = 0; y < height; y += 4) {
        for (size_t left = 0; left < width; left += TILE) {
            const size_t n = least(TILE, width - left);
            float bright[TILE], sums[TILE / 4];
            for (size_t i = 0; i < n / 4; i++) sums[i] = 0;
            for (size_t k = 0; k < 4; k++) {
                if (y + 4 < height) soon(rgb + 3 * ((y + 4 + k) * width + left), 3 * n);
                brightest_of(rgb + 3 * ((y + k) * width + left), n, level, bright);
                for (size_t i = 0; i < n / 4; i++)
                    sums[i] += bright[4 * i] + bright[4 * i + 1] + bright[4 * i + 2] + bright[4 * i + 3];
            }
            for (size_t i = 0; i < n / 4; i++) out[y / 4 * (width / 4) + left / 4 + i] = sums[i] * 0.0625f;
        }
    }
}

/* Inverse depth: the ground or what stands on it, whichever is nearer, and nothing in the sky (scene.py). `rows` and `slant` say
 * how far a row and a column lie below the horizon, `things` becomes the result. */
KERNEL void ground(const double *rows, const double *restrict slant, double horizon, const float *brightness, float relief,
                   float rise, size_t height, size_t width, float *things) {
    const float zero = unknown(0), one = unknown(1);
    for (size_t y = 0; y < height; y++) {
        const float *restrict level = brightness + y * width;
        float *restrict thing = things + y * width;
        for (size_t x = 0; x < width; x++) {
            const float below = (float)(rows[y] - slant[x] - horizon);
            const float bright = clipped((level[x] - 0.45f) * 2.5f, zero, one);
            const float above = clipped((0.15f - below) * (float)(1 / 0.3), zero, one);
            const float sky = bright * bright * (3 - 2 * bright) * above;
            const float standing = (thing[x] * relief + relief) * (1 - sky), lying = below * rise;
            thing[x] = clipped(lying > standing ? lying : standing, zero, one);
        }
    }
}

/* Sums of four values that lie `apart`. */
INLINE void sums_of_four(const double *restrict values, size_t apart, size_t count, double *restrict out) {
    for (size_t i = 0; i < count; i++)
        out[i] = (values[i] + values[i + apart]) + (values[i + 2 * apart] + values[i + 3 * apart]);
}

/* Mean over a box of `side` x `side`, at most 22, mirrored borders (101), even boxes anchored at side / 2, as OpenCV's float
 * one; *done says whether it is there. OpenCV adds in double and slides, so that its bits depend on the order wherever a sum
 * is rounded. None is where all values are 0 or in [2^-21, 1]: multiples of 2^-44, and less than 2^9 in all. Then any
 * order will do; else nothing is done. */
KERNEL void box_mean(const float *values, size_t side, size_t height, size_t width, float *out, int32_t *done) {
    enum { MOST = 22, ROOM = TILE + MOST };
    const size_t before = side / 2;
    const double scale = 1.0 / (double)(side * side);
    double sums[ROOM], four[ROOM], sixteen[ROOM];
    const double zeros[TILE] = {0}, *term[8]; /* their sums are those of `side` values in a row */
    size_t terms = 0;
    *done = 0;
    if (side > MOST || side >= height || side >= width) return;
    for (size_t many = 16, at = 0; many > 0; many /= 4)
        for (size_t k = 0; k < side / many % 4; k++, at += many)
            term[terms++] = (many == 16 ? sixteen : many == 4 ? four : sums) + at;
    for (size_t k = terms; k < 8; k++) term[k] = zeros;
    for (size_t from = 0; from < width; from += TILE) {
        const size_t n = least(TILE, width - from), wide = n + side - 1;
        const size_t first = from < before ? before - from : 0; /* columns of `sums` that lie in the image */
        const size_t last = least(wide, width - from + before);
        const float *column = values + from + first - before;
        for (size_t i = 0; i < wide; i++) sums[i] = 0;
        for (ptrdiff_t y = 1 - (ptrdiff_t)side; y < (ptrdiff_t)height; y++) {
            const float *restrict below = column + mirrored(y + (ptrdiff_t)(side - 1 - before), height) * width;
            double *restrict inside = sums + first;
            int small = 0;
            if (below + width < values + height * width) soon(below + width, sizeof *below * (last - first));
            for (size_t i = 0; i < last - first; i++)
                small |= (below[i] != 0) & !((below[i] >= 0x1p-21f) & (below[i] <= 1));
            if (small) return;
            if (y > 0) {
                const float *restrict above = column + mirrored(y - 1 - (ptrdiff_t)before, height) * width;
                for (size_t i = 0; i < last - first; i++) inside[i] += (double)below[i] - (double)above[i];
            } else {
                for (size_t i = 0; i < last - first; i++) inside[i] += (double)below[i];
            }
            if (y < 0) continue;
            for (size_t i = 0; i < first; i++) sums[i] = sums[2 * first - i];
            for (size_t i = last; i < wide; i++) sums[i] = sums[2 * (last - 1) - i];
            if (side >= 4) sums_of_four(sums, 1, wide - 3, four);
            if (side >= 16) sums_of_four(four, 4, wide - 15, sixteen);
            float *restrict to = out + (size_t)y * width + from;
            if ((size_t)y + 1 < height) soon_written(to + width, sizeof *to * n);
            if (terms <= 4)
                for (size_t i = 0; i < n; i++)
                    to[i] = (float)(((term[0][i] + term[1][i]) + (term[2][i] + term[3][i])) * scale);
            else
                for (size_t i = 0; i < n; i++)
                    to[i] = (float)(((term[0][i] + term[1][i]) + (term[2][i] + term[3][i]) +
                                     (term[4][i] + term[5][i]) + (term[6][i] + term[7][i])) * scale);
        }
    }
    *done = 1;
}

/* Slope and offset of a filter guided by itself, from the means of the guide and of its square; they may be put there. */
KERNEL void self_guided(float *means, float *squares, float eps, size_t count) {
    APART
    for (size_t i = 0; i < count; i++) {
        const float mean = means[i], spread = squares[i] - mean * mean, variance = spread > 0 ? spread : 0;
        const float slope = variance / (variance + eps);
        means[i] = slope;
        squares[i] = mean * (1 - slope);
    }
}

/* ---- falling things ---- */

/* Specks of a canvas, in order: one of brightness 1 .. 255 wherever a random number is below `threshold`. */
typedef struct { uint64_t where, brightness; uint32_t threshold; size_t done, before; } Specks;

#if defined(__GNUC__) && !defined(__clang__)
typedef uint16_t Eight __attribute__((vector_size(16), aligned(2), may_alias));

/* For each choice of eight places the numbers that go there, one after the other. */
typedef struct { Eight from[256]; uint8_t count[256]; } Spread;

INLINE void spread_table(Spread *spread) {
    for (unsigned chosen = 0; chosen < 256; chosen++) {
        unsigned next = 0;
        for (unsigned i = 0; i < 8; i++) {
            spread->from[chosen][i] = (uint16_t)next;
            next += chosen >> i & 1;
        }
        spread->count[chosen] = (uint8_t)next;
    }
}

/* Eight at a time; returns how many were done. */
INLINE size_t spread_out(const Spread *spread, const uint16_t *bits, uint32_t threshold, const uint16_t *bright,
                         size_t count, size_t *used, uint16_t *out) {
    uint8_t hit[CHUNK];
    const uint16_t limit = (uint16_t)threshold;
    if (threshold > 65535) return 0;
    for (size_t i = 0; i < count; i++) hit[i] = bits[i] < limit;
    size_t i = 0, k = 0;
    for (; i + 8 <= count; i += 8) {
        uint64_t eight;
        memcpy(&eight, hit + i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        eight = __builtin_bswap64(eight);
#endif
        const size_t chosen = (eight * 0x0102040810204080u) >> 56;
        const Eight numbers = *(const Eight *)(bright + k), where = *(const Eight *)(bits + i);
        *(Eight *)(out + i) = __builtin_shuffle(numbers, spread->from[chosen]) & (Eight)(where < limit);
        k += spread->count[chosen];
    }
    *used = k;
    return i;
}
#else
typedef int Spread;
INLINE void spread_table(Spread *spread) { (void)spread; }
INLINE size_t spread_out(const Spread *spread, const uint16_t *bits, uint32_t threshold, const uint16_t *bright,
                         size_t count, size_t *used, uint16_t *out) {
    (void)spread, (void)bits, (void)threshold, (void)bright, (void)count, (void)used, (void)out;
    return 0;
}
#endif

/* The next `count` of them, at most CHUNK. */
INLINE void next_specks_16(Specks *s, const Spread *spread, size_t count, uint16_t *restrict out) {
    Random room, more;
    uint16_t bright[CHUNK + 8];
    const uint16_t *bits = random_chunk(s->where, s->done, count, &room);
    size_t found = 0, k = 0;
    for (size_t i = 0; i < count; i++) found += bits[i] < s->threshold;
    const uint16_t *numbers = random_chunk(s->brightness, s->before, found, &more);
    for (size_t i = 0; i < found; i++) bright[i] = (uint16_t)(numbers[i] % 255 + 1);
    memset(bright + found, 0, 8 * sizeof *bright);
    for (size_t i = spread_out(spread, bits, s->threshold, bright, count, &k, out); i < count; i++) {
        const int hit = bits[i] < s->threshold;
        out[i] = (uint16_t)(bright[k] & (uint16_t)-hit);
        k += (size_t)hit;
    }
    s->done += count;
    s->before += found;
}

INLINE void next_specks_32(Specks *s, const Spread *spread, size_t count, uint32_t *restrict out) {
    uint16_t narrow[CHUNK];
    next_specks_16(s, spread, count, narrow);
    for (size_t i = 0; i < count; i++) out[i] = narrow[i];
}

KERNEL void specks(uint64_t where, uint64_t brightness, uint32_t threshold, size_t count, uint16_t *out) {
    Specks all = {where, brightness, threshold, 0, 0};
    Spread spread;
    spread_table(&spread);
    for (size_t done = 0; done < count; done += CHUNK) next_specks_16(&all, &spread, least(CHUNK, count - done), out + done);
}

/* One level of a smear: level `base` plus level `moving` moved by (down, right) within the frame. Level 0 is the specks. */
typedef struct { int32_t base, moving, down, right; } Move;

/* One depth of rain, the same fields in compiled.py: specks of height x width smeared by `count` moves, cropped by `skip` rows
 * and `margin` columns on the left, times bright, added to total (rows x columns). `room` holds
 * `ring` rows (a power of two above every `down`) of every level. */
typedef struct {
    uint64_t where, brightness;
    const Move *moves;
    void *room;
    float *total;
    size_t count, height, width, ring, skip, margin, rows, columns;
    uint32_t threshold;
    float bright;
} Streaks;

#define STREAKS(NAME, NUMBER, NEXT)                                                                                   \
    INLINE NUMBER *NAME##_row(const Streaks *s, size_t level, size_t row) {                                           \
        return (NUMBER *)s->room + (level * s->ring + row % s->ring) * s->width;                                      \
    }                                                                                                                 \
    INLINE const NUMBER *NAME(const Streaks *s, Specks *specks, const Spread *spread, size_t row) {                   \
        const ptrdiff_t width = (ptrdiff_t)s->width;                                                                  \
        for (size_t done = 0; done < s->width; done += CHUNK)                                                         \
            NEXT(specks, spread, least(CHUNK, s->width - done), NAME##_row(s, 0, row) + done);                        \
        for (size_t level = 1; level <= s->count; level++) {                                                          \
            const Move *move = s->moves + level - 1;                                                                  \
            const NUMBER *base = NAME##_row(s, (size_t)move->base, row);                                              \
            NUMBER *restrict to = NAME##_row(s, level, row);                                                          \
            if (row < (size_t)move->down) {                                                                           \
                memcpy(to, base, s->width * sizeof *to);                                                              \
                continue;                                                                                             \
            }                                                                                                         \
            const ptrdiff_t right = move->right;                                                                      \
            const NUMBER *from = NAME##_row(s, (size_t)move->moving, row - (size_t)move->down) - right;               \
            const ptrdiff_t begin = right > 0 ? right : 0, end = right > 0 ? width : width + right;                   \
            for (ptrdiff_t x = 0; x < begin && x < width; x++) to[x] = base[x];                                       \
            APART                                                                                                     \
            for (ptrdiff_t x = begin; x < end; x++) to[x] = (NUMBER)(base[x] + from[x]);                              \
            for (ptrdiff_t x = end > begin ? end : begin; x < width; x++) to[x] = base[x];                            \
        }                                                                                                             \
        return NAME##_row(s, s->count, row) + s->margin;                                                              \
    }
STREAKS(streaks_16, uint16_t, next_specks_16)
STREAKS(streaks_32, uint32_t, next_specks_32)

KERNEL void narrow_streaks(const Streaks *s) {
    Specks specks = {s->where, s->brightness, s->threshold, 0, 0};
    Spread spread;
    spread_table(&spread);
    for (size_t row = 0; row < s->height; row++) {
        const uint16_t *restrict lines = streaks_16(s, &specks, &spread, row);
        if (row < s->skip || row - s->skip >= s->rows) continue;
        float *restrict to = s->total + (row - s->skip) * s->columns;
        for (size_t x = 0; x < s->columns; x++) to[x] += (float)lines[x] * s->bright;
    }
}

/* Cells are twice as wide as high, and their brightness changes linearly from one to the next, in double as NumPy has it. */
KERNEL void wide_streaks(const Streaks *s) {
    Specks specks = {s->where, s->brightness, s->threshold, 0, 0};
    Spread spread;
    spread_table(&spread);
    const size_t cells = (s->columns + 1) / 2;
    double bright[TILE + 2];
    for (size_t row = 0; row < s->height; row++) {
        const uint32_t *lines = streaks_32(s, &specks, &spread, row);
        if (row < s->skip || row - s->skip >= s->rows) continue;
        float *restrict to = s->total + (row - s->skip) * s->columns;
        for (size_t from = 0; from < cells; from += TILE) {
            const size_t n = least(TILE, cells - from), pairs = from + n == cells ? s->columns / 2 - from : n;
            const uint32_t *restrict line = lines + from;
            for (size_t i = 0; i < n; i++) bright[i + 1] = (double)line[i] * (double)s->bright;
            bright[0] = from > 0 ? (double)line[-1] * (double)s->bright : bright[1];
            bright[n + 1] = from + n < cells ? (double)line[n] * (double)s->bright : bright[n];
            for (size_t i = 0; i < pairs; i++) {
                float *pair = to + 2 * (from + i);
                pair[0] = (float)((double)pair[0] + (bright[i] * 0.25 + bright[i + 1] * 0.75));
                pair[1] = (float)((double)pair[1] + (bright[i + 1] * 0.75 + bright[i + 2] * 0.25));
            }
            if (pairs < n) to[s->columns - 1] = (float)((double)to[s->columns - 1] + (bright[n - 1] * 0.25 + bright[n] * 0.75));
        }
    }
}

/* out = base, plus `moving` moved by (down, right) within the frame. */
#define PLUS_MOVED(NAME, NUMBER)                                                                                      \
    KERNEL void NAME(const NUMBER *base, const NUMBER *moving, ptrdiff_t height, ptrdiff_t width, ptrdiff_t down,     \
                     ptrdiff_t right, NUMBER *restrict out) {                                                         \
        const ptrdiff_t left = right > 0 ? right : 0, end = right > 0 ? width : width + right;                        \
        memcpy(out, base, (size_t)(height * width) * sizeof *out);                                                    \
        for (ptrdiff_t y = down > 0 ? down : 0; y < (down > 0 ? height : height + down); y++) {                       \
            const NUMBER *from = moving + (y - down) * width - right;                                                 \
            NUMBER *to = out + y * width;                                                                             \
            for (ptrdiff_t x = left; x < end; x++) to[x] += from[x];                                                  \
        }                                                                                                             \
    }
PLUS_MOVED(plus_moved_16, uint16_t)
PLUS_MOVED(plus_moved_32, uint32_t)
