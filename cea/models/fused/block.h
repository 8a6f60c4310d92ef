/* One processor's version of the NAFNet block; kernels.c includes this file once for each.
 *
 * Maps are (height, width, channels) floats, channels side by side. The including file sets NAME(function), and the tile
 * of a matrix product that its registers hold: ROWS rows of VECTORS vectors of 16.
 *
 * Scales and the weights of normalisations are folded into the matrices beside them, so no map is read or written for
 * their sake; what the gradients of the folded ones need are the sums that the matrices' own gradients are made of.
 */

/* out (rows x columns) = a b (+ bias) (+ base), the part of one register tile. a is read at [r * row + k * step]: a map for
 * products with weights, its transpose for sums over pixels. Rows of b, and of base and out, are `next_b` and `next_out` apart. */
INLINE void NAME(tile)(
    const float *a, size_t row, size_t step, const float *b, size_t next_b, size_t depth, const float *bias,
    const float *base, float *out, size_t next_out, const int rows, const int vectors, const int half
) {
    v16 sum[ROWS][VECTORS];
    v8 rest[ROWS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = bias ? V16(bias + 16 * v) : (v16){0};
        if (half) rest[r] = bias ? V8(bias + 16 * vectors) : (v8){0};
    }
    for (size_t k = 0; k < depth; k++, a += step, b += next_b) {
        v16 weights[VECTORS];
        v8 last = {0};
        UNROLL for (int v = 0; v < vectors; v++) weights[v] = V16(b + 16 * v);
        if (half) last = V8(b + 16 * vectors);
        UNROLL for (int r = 0; r < rows; r++) {
            const float factor = a[r * row];
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] += factor * weights[v];
            if (half) rest[r] += factor * last;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const size_t at = r * next_out + 16 * v;
            if (base) sum[r][v] += V16(base + at);
            V16(out + at) = sum[r][v];
        }
        if (half) {
            const size_t at = r * next_out + 16 * vectors;
            if (base) rest[r] += V8(base + at);
            V8(out + at) = rest[r];
        }
    }
}

INLINE void NAME(panel)(
    const float *a, size_t row, size_t step, const float *b, size_t next_b, size_t depth, const float *bias,
    const float *base, float *out, size_t next_out, size_t rows, const int vectors, const int half
) {
    size_t r = 0;
#define PART(count) \
    NAME(tile)(a + r * row, row, step, b, next_b, depth, bias, base ? base + r * next_out : NULL, out + r * next_out, \
        next_out, count, vectors, half)
    for (; r + ROWS <= rows; r += ROWS) PART(ROWS);
    for (; r + 4 <= rows; r += 4) PART(4);
    for (; r < rows; r++) PART(1);
#undef PART
}

/* See `tile`; any number of rows, and of columns that 8 divides. */
static void NAME(product)(
    const float *a, size_t row, size_t step, const float *b, size_t next_b, size_t depth, const float *bias,
    const float *base, float *out, size_t next_out, size_t rows, size_t columns
) {
    size_t c = 0;
#define PART(vectors, half) \
    NAME(panel)(a, row, step, b + c, next_b, depth, bias ? bias + c : NULL, base ? base + c : NULL, out + c, next_out, \
        rows, vectors, half)
    for (; c + 16 * VECTORS <= columns; c += 16 * VECTORS) PART(VECTORS, 0);
#if VECTORS > 2
    if (c + 40 <= columns) { PART(2, 1); return; }
    if (c + 32 <= columns) { PART(2, 0); c += 32; }
#endif
#if VECTORS > 1
    if (c + 24 <= columns) { PART(1, 1); return; }
    if (c + 16 <= columns) { PART(1, 0); c += 16; }
#endif
    if (c < columns) PART(0, 1);
#undef PART
}

/* A map's pixels (count x depth) times weights (depth x columns). */
INLINE void NAME(mapped)(
    const float *map, size_t depth, const float *weights, const float *bias, const float *base, float *out,
    size_t count, size_t columns
) {
    NAME(product)(map, depth, 1, weights, columns, depth, bias, base, out, columns, count, columns);
}

/* sums (rows x columns) += over pixels, a channel of `left` times one of `right`. */
INLINE void NAME(correlated)(
    const float *left, size_t rows, const float *right, size_t columns, size_t count, float *sums
) {
    NAME(product)(left, 1, rows, right, columns, count, NULL, sums, sums, columns, rows, columns);
}

/* sums += each channel over the pixels. */
static void NAME(add_columns)(const float *map, size_t count, size_t channels, float *sums) {
    for (size_t c = 0; c < channels; c += 8) {
        v8 one = {0}, other = {0};
        size_t n = 0;
        for (; n + 2 <= count; n += 2) {
            one += V8(map + n * channels + c);
            other += V8(map + (n + 1) * channels + c);
        }
        if (n < count) one += V8(map + n * channels + c);
        V8(sums + c) += one + other;
    }
}

/* The sum of the eight numbers, eight times. */
INLINE v8 NAME(total)(v8 x) {
    x += MOVED(x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += MOVED(x, 2, 3, 0, 1, 6, 7, 4, 5);
    return x + MOVED(x, 1, 0, 3, 2, 5, 4, 7, 6);
}

/* Each pixel to mean 0 and variance 1; mean and factor of each go to `moments`. */
static void NAME(normalise)(const float *map, size_t count, size_t channels, float epsilon, float *moments, float *out) {
    for (size_t n = 0; n < count; n++, map += channels, out += channels) {
        v8 sum = {0}, squares = {0};
        for (size_t c = 0; c < channels; c += 8) sum += V8(map + c);
        const v8 mean = NAME(total)(sum) / (float)channels;
        for (size_t c = 0; c < channels; c += 8) {
            const v8 centred = V8(map + c) - mean;
            squares += centred * centred;
        }
        const float factor = 1 / sqrtf(NAME(total)(squares)[0] / (float)channels + epsilon);
        for (size_t c = 0; c < channels; c += 8) V8(out + c) = (V8(map + c) - mean) * factor;
        moments[2 * n] = mean[0];
        moments[2 * n + 1] = factor;
    }
}

static void NAME(normalise_again)(const float *map, size_t count, size_t channels, const float *moments, float *out) {
    for (size_t n = 0; n < count; n++, map += channels, out += channels)
        for (size_t c = 0; c < channels; c += 8) V8(out + c) = (V8(map + c) - moments[2 * n]) * moments[2 * n + 1];
}

/* out = base + the gradient of the map whose normal form is `normal`, from that of the normal form. */
static void NAME(normalise_gradient)(
    const float *gradient, const float *normal, const float *moments, const float *base, size_t count, size_t channels,
    float *out
) {
    const float share = 1 / (float)channels;
    for (size_t n = 0; n < count; n++) {
        v8 sum = {0}, product = {0};
        for (size_t c = 0; c < channels; c += 8) {
            sum += V8(gradient + c);
            product += V8(gradient + c) * V8(normal + c);
        }
        sum = NAME(total)(sum) * share;
        product = NAME(total)(product) * share;
        for (size_t c = 0; c < channels; c += 8)
            V8(out + c) = V8(base + c) + moments[2 * n + 1] * (V8(gradient + c) - sum - V8(normal + c) * product);
        gradient += channels, normal += channels, base += channels, out += channels;
    }
}

/* The product of the two halves of each pixel's 2 x `inner` channels. */
static void NAME(gate)(const float *map, size_t count, size_t inner, float *out) {
    for (size_t n = 0; n < count; n++, map += 2 * inner, out += inner)
        for (size_t c = 0; c < inner; c += 8) V8(out + c) = V8(map + c) * V8(map + inner + c);
}

static void NAME(gate_gradient)(const float *gradient, const float *map, size_t count, size_t inner, float *out) {
    for (size_t n = 0; n < count; n++, gradient += inner, map += 2 * inner, out += 2 * inner)
        for (size_t c = 0; c < inner; c += 8) {
            const v8 both = V8(gradient + c), left = V8(map + c);
            V8(out + c) = both * V8(map + inner + c);
            V8(out + inner + c) = both * left;
        }
}

/* One row of a depth-wise 3 x 3 convolution; `map` is the row above, one pixel to the left, rows `next` floats apart. */
static void NAME(filter_row)(
    const float *map, size_t next, const float *filter, const float *bias, float *out, size_t width, size_t channels
) {
    for (size_t c = 0; c < channels; c += 16) {
        v16 taps[9];
        UNROLL for (int t = 0; t < 9; t++) taps[t] = V16(filter + t * channels + c);
        const v16 start = bias ? V16(bias + c) : (v16){0};
        size_t x = 0;
        for (; x + 4 <= width; x += 4) {
            v16 sum[4] = {start, start, start, start};
            UNROLL for (int dy = 0; dy < 3; dy++)
                UNROLL for (int dx = 0; dx < 6; dx++) {
                    const v16 value = V16(map + dy * next + (x + dx) * channels + c);
                    UNROLL for (int o = 0; o < 4; o++)
                        if (dx >= o && dx < o + 3) sum[o] += value * taps[3 * dy + dx - o];
                }
            UNROLL for (int o = 0; o < 4; o++) V16(out + (x + o) * channels + c) = sum[o];
        }
        for (; x < width; x++) {
            v16 sum = start;
            UNROLL for (int t = 0; t < 9; t++) sum += V16(map + t / 3 * next + (x + t % 3) * channels + c) * taps[t];
            V16(out + x * channels + c) = sum;
        }
    }
}

/* sums (9 x channels) += the gradient of the filter, from one row of the gradient of what it gave. */
static void NAME(filter_gradient)(
    const float *map, size_t next, const float *gradient, size_t width, size_t channels, float *sums
) {
    for (size_t c = 0; c < channels; c += 16) {
        v16 sum[9];
        UNROLL for (int t = 0; t < 9; t++) sum[t] = V16(sums + t * channels + c);
        size_t x = 0;
        for (; x + 4 <= width; x += 4) {
            v16 given[4];
            UNROLL for (int o = 0; o < 4; o++) given[o] = V16(gradient + (x + o) * channels + c);
            UNROLL for (int dx = 0; dx < 6; dx++)
                UNROLL for (int dy = 0; dy < 3; dy++) {
                    const v16 value = V16(map + dy * next + (x + dx) * channels + c);
                    UNROLL for (int o = 0; o < 4; o++)
                        if (dx >= o && dx < o + 3) sum[3 * dy + dx - o] += value * given[o];
                }
        }
        for (; x < width; x++) {
            const v16 given = V16(gradient + x * channels + c);
            UNROLL for (int t = 0; t < 9; t++) sum[t] += V16(map + t / 3 * next + (x + t % 3) * channels + c) * given;
        }
        UNROLL for (int t = 0; t < 9; t++) V16(sums + t * channels + c) = sum[t];
    }
}

/* y = x + s_1 * project(scale(means) * gate(filter(expand(norm(x))))), z = y + s_2 * narrow(gate(widen(norm(y)))). */
static void NAME(forward)(const Block *block, float *room) {
    const size_t height = block->height, width = block->width, channels = block->channels, inner = block->inner;
    const size_t wide = 2 * inner, pixels = height * width, next = (width + 2) * wide;
    const float *const *p = block->parameters;
    float *expand = take(&room, channels * wide), *expand_bias = take(&room, wide), *filter = take(&room, 9 * wide);
    float *project = take(&room, inner * channels), *project_bias = take(&room, channels);
    float *widen = take(&room, channels * wide), *widen_bias = take(&room, wide);
    float *narrow = take(&room, inner * channels), *narrow_bias = take(&room, channels);
    float *normal = take(&room, most(PIXELS, width) * channels), *gated = take(&room, pixels * inner);
    fold_in(p[EXPAND], p[EXPAND_BIAS], p[NORM_SPATIAL], p[NORM_SPATIAL_BIAS], wide, channels, expand, expand_bias);
    fold_in(p[WIDEN], p[WIDEN_BIAS], p[NORM_CHANNEL], p[NORM_CHANNEL_BIAS], wide, channels, widen, widen_bias);
    fold_out(p[NARROW], p[NARROW_BIAS], p[SCALE_CHANNEL], NULL, channels, inner, narrow, narrow_bias);
    transpose(p[FILTER], wide, 9, filter);
    for (size_t image = 0; image < block->batch; image++) {
        const float *x = block->x + image * pixels * channels;
        float *expanded = block->expanded + image * (height + 2) * next;
        float *filtered = block->filtered + image * pixels * wide, *middle = block->middle + image * pixels * channels;
        float *widened = block->widened + image * pixels * wide, *out = block->out + image * pixels * channels;
        float *moments = block->moments + 2 * image * pixels;
        float *more_moments = moments + 2 * block->batch * pixels;
        float *means = block->means + image * inner, *scales = block->scales + image * inner;
        memset(means, 0, inner * sizeof *means);
        memset(expanded, 0, next * sizeof *expanded);
        memset(expanded + (height + 1) * next, 0, next * sizeof *expanded);
        for (size_t y = 0; y <= height; y++) {
            if (y < height) {
                float *row = expanded + (y + 1) * next;
                memset(row, 0, wide * sizeof *row);
                memset(row + next - wide, 0, wide * sizeof *row);
                NAME(normalise)(x + y * width * channels, width, channels, block->epsilon, moments + 2 * y * width, normal);
                NAME(mapped)(normal, channels, expand, expand_bias, NULL, row + wide, width, wide);
            }
            if (y > 0) {
                const size_t at = (y - 1) * width;
                NAME(filter_row)(expanded + (y - 1) * next, next, filter, p[FILTER_BIAS], filtered + at * wide, width, wide);
                NAME(gate)(filtered + at * wide, width, inner, gated + at * inner);
                NAME(add_columns)(gated + at * inner, width, inner, means);
            }
        }
        for (size_t c = 0; c < inner; c++) means[c] /= (float)pixels;
        times(p[ATTENTION], means, p[ATTENTION_BIAS], inner, scales);
        fold_out(p[PROJECT], p[PROJECT_BIAS], p[SCALE_SPATIAL], scales, channels, inner, project, project_bias);
        for (size_t at = 0; at < pixels; at += PIXELS) {
            const size_t count = least(PIXELS, pixels - at);
            float *y = middle + at * channels, *w = widened + at * wide, *now = gated + at * inner;
            NAME(mapped)(now, inner, project, project_bias, x + at * channels, y, count, channels);
            NAME(normalise)(y, count, channels, block->epsilon, more_moments + 2 * at, normal);
            NAME(mapped)(normal, channels, widen, widen_bias, NULL, w, count, wide);
            NAME(gate)(w, count, inner, now);
            NAME(mapped)(now, inner, narrow, narrow_bias, y, out + at * channels, count, channels);
        }
    }
}

/* The gradients of the input and, added up over the images, of the parameters. */
static void NAME(backward)(const Block *block, float *room) {
    const size_t height = block->height, width = block->width, channels = block->channels, inner = block->inner;
    const size_t wide = 2 * inner, pixels = height * width, next = (width + 2) * wide, most_pixels = most(PIXELS, width);
    const float *const *p = block->parameters;
    float *const *g = block->parameter_gradients;
    /* As the maps' gradients need them: neither transposed. */
    float *expand = take(&room, channels * wide), *project = take(&room, inner * channels);
    float *widen = take(&room, channels * wide), *narrow = take(&room, inner * channels), *filter = take(&room, 9 * wide);
    /* Sums over the pixels. */
    float *sums = room;
    float *of_expand = take(&room, channels * wide), *of_expand_bias = take(&room, wide);
    float *of_widen = take(&room, channels * wide), *of_widen_bias = take(&room, wide);
    float *of_narrow = take(&room, inner * channels), *of_narrow_bias = take(&room, channels);
    float *of_filter = take(&room, 9 * wide), *of_filter_bias = take(&room, wide);
    memset(sums, 0, (size_t)(room - sums) * sizeof *sums);
    float *of_project = take(&room, inner * channels), *of_project_bias = take(&room, channels);
    float *of_scales = take(&room, inner), *of_means = take(&room, inner);
    float *normal = take(&room, most_pixels * channels), *narrowed = take(&room, most_pixels * channels);
    float *gated = take(&room, most_pixels * inner), *of_gated = take(&room, most_pixels * inner);
    float *of_wide = take(&room, most_pixels * wide);
    float *of_middle = take(&room, pixels * channels), *of_filtered = take(&room, (height + 2) * next);
    weigh_columns(p[EXPAND], p[NORM_SPATIAL], wide, channels, expand);
    weigh_columns(p[WIDEN], p[NORM_CHANNEL], wide, channels, widen);
    weigh(p[NARROW], p[SCALE_CHANNEL], NULL, channels, inner, narrow);
    for (size_t t = 0; t < 9; t++)
        for (size_t c = 0; c < wide; c++) filter[t * wide + c] = p[FILTER][c * 9 + 8 - t];
    memset(of_filtered, 0, (height + 2) * next * sizeof *of_filtered); /* its border remains */
    for (size_t image = 0; image < block->batch; image++) {
        const float *x = block->x + image * pixels * channels, *given = block->gradient + image * pixels * channels;
        const float *expanded = block->expanded + image * (height + 2) * next;
        const float *filtered = block->filtered + image * pixels * wide;
        const float *middle = block->middle + image * pixels * channels, *widened = block->widened + image * pixels * wide;
        const float *moments = block->moments + 2 * image * pixels;
        const float *more_moments = moments + 2 * block->batch * pixels;
        const float *means = block->means + image * inner, *scales = block->scales + image * inner;
        float *out = block->x_gradient + image * pixels * channels;
        memset(of_project, 0, inner * channels * sizeof *of_project);
        memset(of_project_bias, 0, channels * sizeof *of_project_bias);
        for (size_t at = 0; at < pixels; at += PIXELS) {
            const size_t count = least(PIXELS, pixels - at);
            const float *of_out = given + at * channels;
            float *of_y = of_middle + at * channels;
            NAME(gate)(widened + at * wide, count, inner, gated);
            NAME(correlated)(of_out, channels, gated, inner, count, of_narrow);
            NAME(add_columns)(of_out, count, channels, of_narrow_bias);
            NAME(mapped)(of_out, channels, narrow, NULL, NULL, of_gated, count, inner);
            NAME(gate_gradient)(of_gated, widened + at * wide, count, inner, of_wide);
            NAME(normalise_again)(middle + at * channels, count, channels, more_moments + 2 * at, normal);
            NAME(correlated)(of_wide, wide, normal, channels, count, of_widen);
            NAME(add_columns)(of_wide, count, wide, of_widen_bias);
            NAME(mapped)(of_wide, wide, widen, NULL, NULL, narrowed, count, channels);
            NAME(normalise_gradient)(narrowed, normal, more_moments + 2 * at, of_out, count, channels, of_y);
            NAME(gate)(filtered + at * wide, count, inner, gated);
            NAME(correlated)(of_y, channels, gated, inner, count, of_project);
            NAME(add_columns)(of_y, count, channels, of_project_bias);
        }
        add_project(block, of_project, of_project_bias, scales, of_scales);
        add_attention(block, of_scales, means, of_means);
        for (size_t c = 0; c < inner; c++) of_means[c] /= (float)pixels;
        weigh(p[PROJECT], p[SCALE_SPATIAL], scales, channels, inner, project);
        for (size_t y = 0; y < height; y++) {
            const size_t at = y * width;
            float *row = of_filtered + (y + 1) * next + wide;
            NAME(mapped)(of_middle + at * channels, channels, project, of_means, NULL, of_gated, width, inner);
            NAME(gate_gradient)(of_gated, filtered + at * wide, width, inner, row);
            NAME(add_columns)(row, width, wide, of_filter_bias);
            NAME(filter_gradient)(expanded + y * next, next, row, width, wide, of_filter);
        }
        for (size_t y = 0; y < height; y++) {
            const size_t at = y * width;
            NAME(filter_row)(of_filtered + y * next, next, filter, NULL, of_wide, width, wide);
            NAME(normalise_again)(x + at * channels, width, channels, moments + 2 * at, normal);
            NAME(correlated)(of_wide, wide, normal, channels, width, of_expand);
            NAME(add_columns)(of_wide, width, wide, of_expand_bias);
            NAME(mapped)(of_wide, wide, expand, NULL, NULL, narrowed, width, channels);
            NAME(normalise_gradient)(
                narrowed, normal, moments + 2 * at, of_middle + at * channels, width, channels, out + at * channels
            );
        }
    }
    finish_in(of_expand, of_expand_bias, p[EXPAND], p[NORM_SPATIAL], p[NORM_SPATIAL_BIAS], wide, channels, g[EXPAND],
        g[EXPAND_BIAS], g[NORM_SPATIAL], g[NORM_SPATIAL_BIAS]);
    finish_in(of_widen, of_widen_bias, p[WIDEN], p[NORM_CHANNEL], p[NORM_CHANNEL_BIAS], wide, channels, g[WIDEN],
        g[WIDEN_BIAS], g[NORM_CHANNEL], g[NORM_CHANNEL_BIAS]);
    finish_out(of_narrow, of_narrow_bias, p[NARROW], p[NARROW_BIAS], p[SCALE_CHANNEL], channels, inner, g[NARROW],
        g[NARROW_BIAS], g[SCALE_CHANNEL]);
    transpose(of_filter, 9, wide, g[FILTER]);
    memcpy(g[FILTER_BIAS], of_filter_bias, wide * sizeof(float));
}

/* out (columns x columns) = x^T x, of x (rows x columns); half of it is computed, in strips of eight rows. */
static void NAME(squared)(const float *x, size_t columns, size_t rows, float *out) {
    for (size_t r = 0; r < columns; r += 8) {
        float *const strip = out + r * columns + r;
        NAME(product)(x + r, 1, columns, x + r, columns, rows, NULL, NULL, strip, columns, 8, columns - r);
        for (size_t i = 0; i < 8; i++)
            for (size_t c = 8; c < columns - r; c++) out[(r + c) * columns + r + i] = strip[i * columns + c];
    }
}

/* One step of Muon, see cea/training/optimizer.py. The matrix or its transpose, whichever has no fewer rows than columns,
 * is kept as rows x columns with zeros up to multiples of 8: those stay zeros. */
static void NAME(muon)(const Matrix *matrix, float *room) {
    const size_t count = matrix->rows * matrix->columns, flat = matrix->rows <= matrix->columns;
    const size_t rows = eights(most(matrix->rows, matrix->columns)), columns = eights(least(matrix->rows, matrix->columns));
    float *x = take(&room, rows * columns), *next = take(&room, rows * columns);
    float *gram = take(&room, columns * columns), *polynomial = take(&room, columns * columns);
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        const float gradient = matrix->gradient[i];
        matrix->momentum[i] += (1 - matrix->decay) * (gradient - matrix->momentum[i]);
        x[i] = matrix->momentum[i] + (1 - matrix->decay) * (gradient - matrix->momentum[i]); /* Nesterov's look ahead */
        squares += (double)x[i] * x[i];
    }
    const float scale = 1 / (float)fmax(sqrt(squares), matrix->least_norm);
    memset(next, 0, rows * columns * sizeof *next);
    for (size_t r = 0; r < matrix->rows; r++)
        for (size_t c = 0; c < matrix->columns; c++)
            next[flat ? c * columns + r : r * columns + c] = x[r * matrix->columns + c] * scale;
    for (size_t turn = 0; turn < matrix->iterations; turn++) {
        float *const last = x;
        x = next, next = last;
        NAME(squared)(x, columns, rows, gram);
        NAME(squared)(gram, columns, columns, polynomial);
        for (size_t i = 0; i < columns * columns; i++)
            polynomial[i] = matrix->quintic[1] * gram[i] + matrix->quintic[2] * polynomial[i];
        for (size_t c = 0; c < columns; c++) polynomial[c * columns + c] += matrix->quintic[0];
        NAME(mapped)(x, columns, polynomial, NULL, NULL, next, rows, columns);
    }
    for (size_t r = 0; r < matrix->rows; r++)
        for (size_t c = 0; c < matrix->columns; c++) {
            float *const value = matrix->parameter + r * matrix->columns + c;
            *value = *value * matrix->keep - matrix->length * next[flat ? c * columns + r : r * columns + c];
        }
}
