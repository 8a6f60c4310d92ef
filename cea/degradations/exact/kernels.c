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
#else
#define INLINE static inline
#endif

/* What the library was built from: setup.py sets it, compiled.py asks for it. */
#if defined(SOURCE_SHA256)
EXPORT const char *source_sha256(void) { return SOURCE_SHA256; }
#endif

enum { CHUNK = 2048 }; /* pixels whose random numbers lie in the first-level cache */

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE float clipped(float x, float low, float high) { x = x > low ? x : low; return x < high ? x : high; }

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

/* Add sigma n to `count` pixels whose random numbers start at `begin`; sigma is times `map` unless that is NULL. */
INLINE void noisy(const float *image, const float *map, float sigma, int clip, uint64_t stream, size_t begin,
                  size_t count, const float *table, float *out) {
    Random room;
    float noise[CHUNK];
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        const uint16_t *bits = random_chunk(stream, begin + done, n, &room);
        const float *x = image + done;
        float *y = out + done;
        for (size_t i = 0; i < n; i++) noise[i] = table[bits[i]];
        if (map) for (size_t i = 0; i < n; i++) y[i] = x[i] + noise[i] * (map[done + i] * sigma);
        else for (size_t i = 0; i < n; i++) y[i] = x[i] + noise[i] * sigma;
        if (clip) for (size_t i = 0; i < n; i++) y[i] = clipped(y[i], 0, 1);
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

KERNEL void brightest(const float *restrict planes, size_t pixels, float *restrict most) {
    const float *red = planes, *green = planes + pixels, *blue = planes + 2 * pixels;
    for (size_t i = 0; i < pixels; i++) {
        const float two = red[i] > green[i] ? red[i] : green[i];
        most[i] = two > blue[i] ? two : blue[i];
    }
}

/* Beyond the integers OpenCV gives 0. */
INLINE uint8_t level_of(float x) {
    const float y = clipped(x, 0, 3e38f) * 255.0f;
    return (uint8_t)rounded(y < 2147483648.0f ? (y < 255.0f ? y : 255.0f) : 0.0f);
}

KERNEL void quantise(const float *restrict planes, size_t pixels, uint8_t *restrict rgb) {
    const float *red = planes, *green = planes + pixels, *blue = planes + 2 * pixels;
    uint8_t levels[3][CHUNK];
    for (size_t done = 0; done < pixels; done += CHUNK) {
        const size_t n = least(CHUNK, pixels - done);
        for (size_t i = 0; i < n; i++) levels[0][i] = level_of(red[done + i]);
        for (size_t i = 0; i < n; i++) levels[1][i] = level_of(green[done + i]);
        for (size_t i = 0; i < n; i++) levels[2][i] = level_of(blue[done + i]);
        uint8_t *to = rgb + 3 * done;
        for (size_t i = 0; i < n; i++) {
            to[3 * i] = levels[0][i];
            to[3 * i + 1] = levels[1][i];
            to[3 * i + 2] = levels[2][i];
        }
    }
}

/* ---- tables ---- */

INLINE float looked_up(const float *entries, float last, float position) {
    return entries[rounded(clipped(position, 0, last))];
}

KERNEL void lookup(const float *entries, size_t count, const float *values, float scale, size_t pixels, float *out) {
    const float last = (float)(count - 1);
    for (size_t i = 0; i < pixels; i++) out[i] = looked_up(entries, last, values[i] * scale);
}

/* e^x: range reduction, then the Taylor polynomial of degree 13. */
KERNEL void exponentials(const double *restrict x, size_t count, double *restrict out) {
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        double k[CHUNK], *restrict total = out + done;
        for (size_t i = 0; i < n; i++) {
            const double high = 0.693147180369123816490, low = 1.90821492927058770002e-10;
            k[i] = rint(x[done + i] / (high + low));
            const double r = (x[done + i] - k[i] * high) - k[i] * low;
            double sum = 1;
            for (int term = 13; term > 0; term--) sum = sum * r / term + 1.0;
            total[i] = sum;
        }
        for (size_t i = 0; i < n; i++) total[i] = ldexp(total[i], (int)k[i]);
    }
}

/* ---- low light ---- */

/* What low_light reads and writes; the same fields in compiled.py. Maps that may be missing are NULL. */
typedef struct {
    const float *image, *light, *strength, *table, *normal;
    float *dark, *kept, *severity;
    size_t height, width, strip, entries;
    uint64_t stream;
    float scale, sigma, loss, exposure[3];
    int32_t exposed;
} Low;

INLINE size_t mirrored(ptrdiff_t i, size_t n) { /* border 101 */
    if (n == 1) return 0;
    if (i < 0) return (size_t)-i;
    return (size_t)i < n ? (size_t)i : 2 * n - 2 - (size_t)i;
}

/* Sums over three neighbours in a row, in double as OpenCV's box filter takes them. */
INLINE void row_sums(const float *restrict v, size_t n, double *restrict out) {
    const double first = (double)v[mirrored(-1, n)], last = (double)v[mirrored((ptrdiff_t)n, n)];
    out[0] = first + (double)v[0] + (double)v[mirrored(1, n)];
    for (size_t i = 1; i + 1 < n; i++) out[i] = (double)v[i - 1] + (double)v[i] + (double)v[i + 1];
    if (n > 1) out[n - 1] = (double)v[n - 2] + (double)v[n - 1] + last;
}

/* Columns of a tile: what the filter remembers of them stays in the cache. Two boxes reach HALO columns over. */
enum { TILE = 512, HALO = 2, WIDE = TILE + 2 * HALO };

/* A 3 x 3 box mean that moves down: sums of the last three rows, and the running sum of two of them, which keeps its
 * rounding errors from row to row just as OpenCV's does. */
typedef struct { double rows[3][WIDE], sum[WIDE]; } Box;

INLINE void box_start(Box *box, size_t height, size_t width) {
    const double *above = box->rows[mirrored(-1, height) % 3], *first = box->rows[0];
    for (size_t i = 0; i < width; i++) box->sum[i] = above[i] + first[i];
}

INLINE void box_row(Box *box, size_t row, size_t height, size_t width, float *restrict mean) {
    const double *below = box->rows[mirrored((ptrdiff_t)row + 1, height) % 3];
    const double *above = box->rows[mirrored((ptrdiff_t)row - 1, height) % 3];
    double *restrict sum = box->sum;
    for (size_t i = 0; i < width; i++) {
        const double total = sum[i] + below[i];
        mean[i] = (float)(total * (1.0 / 9));
        sum[i] = total - above[i];
    }
}

INLINE void luma_row(const float *restrict image, size_t pixels, size_t width, float *restrict luma) {
    const float *red = image, *green = image + pixels, *blue = image + 2 * pixels;
    for (size_t i = 0; i < width; i++) {
        float grey = red[i] * (float)(3735 * 255.0 / 32768);
        grey += green[i] * (float)(19235 * 255.0 / 32768);
        grey += blue[i] * (float)(9798 * 255.0 / 32768);
        luma[i] = floorf(grey + 0.5f) / 255.0f;
    }
}

/* `count` pixels from `at` on: from their illumination (in gain) to dark, noisy pixels and the maps of that. */
INLINE void darken(const Low *p, size_t at, size_t count, float *restrict gain) {
    const size_t pixels = p->height * p->width;
    const float *strength = p->strength ? p->strength + at : NULL;
    const float last = (float)(p->entries - 1), loss = p->loss;
    float *restrict kept = p->kept + at, *restrict severity = p->severity + at;
    for (size_t i = 0; i < count; i++) gain[i] = looked_up(p->table, last, gain[i] * p->scale);
    if (strength) for (size_t i = 0; i < count; i++) gain[i] = 1 - strength[i] * (1 - gain[i]);
    if (loss == 0) memcpy(kept, gain, count * sizeof *kept);
    else if (strength) for (size_t i = 0; i < count; i++) kept[i] = gain[i] * (1 - strength[i] * loss);
    else for (size_t i = 0; i < count; i++) kept[i] = gain[i] * (1 - loss);
    for (size_t i = 0; i < count; i++) severity[i] = 1 - kept[i] > 0 ? 1 - kept[i] : 0;
    for (size_t c = 0; c < 3; c++) {
        const float *restrict image = p->image + c * pixels + at, exposure = p->exposure[c];
        float *restrict dark = p->dark + c * pixels + at;
        for (size_t i = 0; i < count; i++) dark[i] = image[i] * gain[i];
        if (p->exposed && strength)
            for (size_t i = 0; i < count; i++) dark[i] *= 1 - strength[i] * (1 - exposure);
        else if (p->exposed)
            for (size_t i = 0; i < count; i++) dark[i] *= exposure;
        if (p->sigma != 0)
            noisy(dark, strength, p->sigma, 1, p->stream, c * pixels + at, count, p->normal, dark);
    }
}

/* Rows top .. top + n and columns left .. right filtered as if there were no others, so that what lies at their borders
 * is wrong unless the image ends there; rows start .. stop and columns from .. to of it are darkened. */
INLINE void guided_tile(const Low *p, size_t top, size_t n, size_t left, size_t right, size_t start, size_t stop,
                        size_t from, size_t to) {
    Box guides, lumas, products, squares, slopes, offsets;
    float one[WIDE], two[WIDE], slope[WIDE], square[WIDE];
    const size_t w = right - left;
    size_t next = 0;
    for (size_t r = 0; r <= n; r++) {
        for (; next < n && next <= r + 1; next++) { /* the rows that the box at r takes in */
            const size_t at = (top + next) * p->width + left;
            const float *restrict guide = p->light + at;
            luma_row(p->image + at, p->height * p->width, w, one);
            row_sums(guide, w, guides.rows[next % 3]);
            row_sums(one, w, lumas.rows[next % 3]);
            for (size_t i = 0; i < w; i++) two[i] = guide[i] * one[i];
            row_sums(two, w, products.rows[next % 3]);
            for (size_t i = 0; i < w; i++) two[i] = guide[i] * guide[i];
            row_sums(two, w, squares.rows[next % 3]);
        }
        if (r < n) {
            if (r == 0) {
                box_start(&guides, n, w);
                box_start(&lumas, n, w);
                box_start(&products, n, w);
                box_start(&squares, n, w);
            }
            box_row(&guides, r, n, w, one);
            box_row(&lumas, r, n, w, two);
            box_row(&products, r, n, w, slope);
            box_row(&squares, r, n, w, square);
            for (size_t i = 0; i < w; i++) {
                slope[i] -= one[i] * two[i];
                slope[i] /= square[i] - one[i] * one[i] + 0.01f;
                two[i] -= slope[i] * one[i];
            }
            row_sums(slope, w, slopes.rows[r % 3]);
            row_sums(two, w, offsets.rows[r % 3]);
        }
        if (r == 0) continue;
        if (r == 1) {
            box_start(&slopes, n, w);
            box_start(&offsets, n, w);
        }
        box_row(&slopes, r - 1, n, w, one);
        box_row(&offsets, r - 1, n, w, two);
        const size_t y = top + r - 1, at = y * p->width + left;
        if (y < start || y >= stop) continue;
        for (size_t i = 0; i < w; i++) one[i] = clipped(one[i] * p->light[at + i] + two[i], 0, 3e38f) + 1e-7f;
        darken(p, y * p->width + from, to - from, one + (from - left));
    }
}

/* The guided filter of luma by light, in strips of rows, since it begins anew with each; and what follows from it. */
KERNEL void low_light(const Low *p) {
    for (size_t start = 0; start < p->height; start += p->strip) {
        const size_t stop = least(start + p->strip, p->height);
        const size_t top = start < HALO ? 0 : start - HALO, bottom = least(stop + HALO, p->height);
        for (size_t from = 0; from < p->width; from += TILE) {
            const size_t to = least(from + TILE, p->width);
            const size_t left = from < HALO ? 0 : from - HALO, right = least(to + HALO, p->width);
            guided_tile(p, top, bottom - top, left, right, start, stop, from, to);
        }
    }
}

/* ---- haze ---- */

/* A + (J - A) t with t looked up at the distance 1 - near, capped, times the maps that are not NULL; severity 1 - t. */
KERNEL void haze(const float *image, const float *near, const float *banks, const float *strength, float cap,
                 const float *table, size_t entries, float scale, const float *airlight, size_t pixels, float *hazy,
                 float *transmission, float *severity) {
    const float last = (float)(entries - 1);
    for (size_t done = 0; done < pixels; done += CHUNK) {
        const size_t n = least(CHUNK, pixels - done);
        float *restrict t = transmission + done, *restrict s = severity + done;
        for (size_t i = 0; i < n; i++) {
            const float far = 1 - near[done + i];
            t[i] = far < cap ? far : cap;
        }
        if (banks) for (size_t i = 0; i < n; i++) t[i] *= banks[done + i];
        if (strength) for (size_t i = 0; i < n; i++) t[i] *= strength[done + i];
        for (size_t i = 0; i < n; i++) t[i] = looked_up(table, last, t[i] * scale);
        for (size_t i = 0; i < n; i++) s[i] = 1 - t[i];
        for (size_t c = 0; c < 3; c++) {
            const float level = airlight[c], *restrict x = image + c * pixels + done;
            float *restrict y = hazy + c * pixels + done;
            for (size_t i = 0; i < n; i++) y[i] = (x[i] - level) * t[i] + level;
        }
    }
}

/* ---- light ---- */

KERNEL void light(const float *restrict slope, const float *restrict offset, const float *restrict brightness,
                  size_t pixels, float *restrict out) {
    for (size_t i = 0; i < pixels; i++) out[i] = clipped(slope[i] * brightness[i] + offset[i], 1e-3f, 1);
}

/* ---- falling things ---- */

/* image + layer, (height, width). */
KERNEL void add_map(const float *image, const float *layer, size_t pixels, float *out) {
    for (size_t done = 0; done < pixels; done += CHUNK) {
        const size_t n = least(CHUNK, pixels - done);
        for (size_t c = 0; c < 3; c++) {
            const float *x = image + c * pixels + done, *restrict add = layer + done;
            float *restrict y = out + c * pixels + done;
            for (size_t i = 0; i < n; i++) y[i] = x[i] + add[i];
        }
    }
}

/* total += bright * lines, whose rows lie `stride` apart. */
KERNEL void add_lines(const uint16_t *lines, size_t stride, size_t height, size_t width, float bright, float *total) {
    for (size_t y = 0; y < height; y++) {
        const uint16_t *restrict from = lines + y * stride;
        float *restrict to = total + y * width;
        for (size_t x = 0; x < width; x++) to[x] += (float)from[x] * bright;
    }
}

/* A speck of brightness 1 .. 255 wherever a random number is below `threshold`. */
KERNEL void specks(uint64_t where, uint64_t brightness, uint32_t threshold, size_t count, uint16_t *out) {
    Random room, more;
    uint16_t places[CHUNK];
    size_t before = 0;
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t n = least(CHUNK, count - done);
        const uint16_t *bits = random_chunk(where, done, n, &room);
        size_t found = 0;
        for (size_t i = 0; i < n; i++) {
            places[found] = (uint16_t)i;
            found += bits[i] < threshold;
        }
        memset(out + done, 0, n * sizeof *out);
        const uint16_t *bright = random_chunk(brightness, before, found, &more);
        for (size_t i = 0; i < found; i++) out[done + places[i]] = (uint16_t)(bright[i] % 255 + 1);
        before += found;
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
