/* The NAFNet block of cea/models/blocks/nafnet.py, forward and backward, in one call each.
 *
 * One thread; a batch goes through image by image, so that what a stage leaves is still in the cache for the next.
 * Results differ from PyTorch's in the last bits: sums are taken in another order, and multiply-adds are fused.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define MOVED(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define UNROLL _Pragma("GCC unroll 16")
#define MOVED(x, ...) __builtin_shuffle(x, (places){__VA_ARGS__})
#endif

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t places __attribute__((vector_size(32)));
#define V8(place) (*(v8 *)(place))
#define V16(place) (*(v16 *)(place))

#if defined(SOURCE_SHA256)
const char *source_sha256(void) { return SOURCE_SHA256; }
#endif

enum { PIXELS = 64 }; /* handled together: what lies between two products stays in the first-level cache */

enum {
    NORM_SPATIAL, NORM_SPATIAL_BIAS, EXPAND, EXPAND_BIAS, FILTER, FILTER_BIAS, ATTENTION, ATTENTION_BIAS, PROJECT,
    PROJECT_BIAS, NORM_CHANNEL, NORM_CHANNEL_BIAS, WIDEN, WIDEN_BIAS, NARROW, NARROW_BIAS, SCALE_SPATIAL, SCALE_CHANNEL,
    PARAMETERS
};

/* Fields and their order as in compiled.py. Eight divides `channels` and `inner`; maps that a filter reads have a border. */
typedef struct {
    const float *x;        /* (batch, height, width, channels) */
    float *out;            /* likewise */
    float *expanded;       /* (batch, height + 2, width + 2, 2 inner) */
    float *filtered;       /* (batch, height, width, 2 inner) */
    float *middle;         /* (batch, height, width, channels) */
    float *widened;        /* (batch, height, width, 2 inner) */
    float *moments;        /* (2, batch, height, width, 2) */
    float *means, *scales; /* (batch, inner) */
    const float *gradient; /* of `out` */
    float *x_gradient;
    size_t batch, height, width, channels, inner;
    float epsilon;
    const float *parameters[PARAMETERS];
    float *parameter_gradients[PARAMETERS];
} Block;

/* What a step of Muon changes and by how much. */
typedef struct {
    float *parameter, *momentum;
    const float *gradient;
    size_t rows, columns, iterations;
    float decay;           /* of the momentum */
    float keep, length;    /* parameter = keep * parameter - length * direction */
    float least_norm;
    float quintic[3];
} Matrix;

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t most(size_t a, size_t b) { return a > b ? a : b; }

INLINE size_t eights(size_t a) { return (a + 7) / 8 * 8; }

/* The next `count` floats, beginning at a cache line. */
INLINE float *take(float **room, size_t count) {
    float *taken = *room;
    *room += (count + 15) / 16 * 16;
    return taken;
}

/* (rows x columns) to (columns x rows). */
static void transpose(const float *matrix, size_t rows, size_t columns, float *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) out[c * rows + r] = matrix[r * columns + c];
}

/* out = matrix (n x n) x + bias. */
static void times(const float *matrix, const float *x, const float *bias, size_t n, float *out) {
    for (size_t r = 0; r < n; r++) {
        float sum = bias[r];
        for (size_t c = 0; c < n; c++) sum += matrix[r * n + c] * x[c];
        out[r] = sum;
    }
}

/* matrix (rows x columns), columns times `right`. */
static void weigh_columns(const float *matrix, const float *right, size_t rows, size_t columns, float *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) out[r * columns + c] = matrix[r * columns + c] * right[c];
}

/* matrix (rows x columns), rows times `left`, columns times `right` unless that is NULL. */
static void weigh(const float *matrix, const float *left, const float *right, size_t rows, size_t columns, float *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            out[r * columns + c] = matrix[r * columns + c] * left[r] * (right ? right[c] : 1);
}

/* A linear layer behind a normalisation's weights, as one, transposed: matrix (rows x columns) to (columns x rows). */
static void fold_in(
    const float *matrix, const float *bias, const float *scale, const float *shift, size_t rows, size_t columns,
    float *out, float *out_bias
) {
    for (size_t r = 0; r < rows; r++) {
        out_bias[r] = bias[r];
        for (size_t c = 0; c < columns; c++) {
            out[c * rows + r] = matrix[r * columns + c] * scale[c];
            out_bias[r] += matrix[r * columns + c] * shift[c];
        }
    }
}

/* A linear layer between scales, as one, transposed; `right` may be NULL. */
static void fold_out(
    const float *matrix, const float *bias, const float *left, const float *right, size_t rows, size_t columns,
    float *out, float *out_bias
) {
    for (size_t r = 0; r < rows; r++) {
        out_bias[r] = bias[r] * left[r];
        for (size_t c = 0; c < columns; c++)
            out[c * rows + r] = matrix[r * columns + c] * left[r] * (right ? right[c] : 1);
    }
}

/* Gradients of what `fold_in` folded, from those of the one layer. */
static void finish_in(
    const float *sums, const float *bias_sums, const float *matrix, const float *scale, const float *shift, size_t rows,
    size_t columns, float *of_matrix, float *of_bias, float *of_scale, float *of_shift
) {
    memset(of_scale, 0, columns * sizeof *of_scale);
    memset(of_shift, 0, columns * sizeof *of_shift);
    for (size_t r = 0; r < rows; r++) {
        of_bias[r] = bias_sums[r];
        for (size_t c = 0; c < columns; c++) {
            const size_t at = r * columns + c;
            of_matrix[at] = sums[at] * scale[c] + bias_sums[r] * shift[c];
            of_scale[c] += sums[at] * matrix[at];
            of_shift[c] += bias_sums[r] * matrix[at];
        }
    }
}

/* Gradients of what `fold_out` folded, without a `right`. */
static void finish_out(
    const float *sums, const float *bias_sums, const float *matrix, const float *bias, const float *left, size_t rows,
    size_t columns, float *of_matrix, float *of_bias, float *of_left
) {
    for (size_t r = 0; r < rows; r++) {
        float of_scale = bias_sums[r] * bias[r];
        for (size_t c = 0; c < columns; c++) {
            of_matrix[r * columns + c] = sums[r * columns + c] * left[r];
            of_scale += sums[r * columns + c] * matrix[r * columns + c];
        }
        of_bias[r] = bias_sums[r] * left[r];
        of_left[r] = of_scale;
    }
}

/* Add one image's share of the gradients of `project` and its scale; `of_scales` becomes that of the attention's scales. */
static void add_project(
    const Block *block, const float *sums, const float *bias_sums, const float *scales, float *of_scales
) {
    const size_t channels = block->channels, inner = block->inner;
    const float *matrix = block->parameters[PROJECT], *left = block->parameters[SCALE_SPATIAL];
    float *of_matrix = block->parameter_gradients[PROJECT], *of_bias = block->parameter_gradients[PROJECT_BIAS];
    float *of_left = block->parameter_gradients[SCALE_SPATIAL];
    memset(of_scales, 0, inner * sizeof *of_scales);
    for (size_t r = 0; r < channels; r++) {
        float of_scale = bias_sums[r] * block->parameters[PROJECT_BIAS][r];
        for (size_t c = 0; c < inner; c++) {
            const size_t at = r * inner + c;
            of_matrix[at] += sums[at] * left[r] * scales[c];
            of_scale += sums[at] * matrix[at] * scales[c];
            of_scales[c] += sums[at] * matrix[at] * left[r];
        }
        of_left[r] += of_scale;
        of_bias[r] += bias_sums[r] * left[r];
    }
}

/* Add one image's share of the attention's gradients; `of_means` becomes that of the channel means. */
static void add_attention(const Block *block, const float *of_scales, const float *means, float *of_means) {
    const size_t inner = block->inner;
    float *of_matrix = block->parameter_gradients[ATTENTION], *of_bias = block->parameter_gradients[ATTENTION_BIAS];
    memset(of_means, 0, inner * sizeof *of_means);
    for (size_t r = 0; r < inner; r++) {
        of_bias[r] += of_scales[r];
        for (size_t c = 0; c < inner; c++) {
            of_matrix[r * inner + c] += of_scales[r] * means[c];
            of_means[c] += of_scales[r] * block->parameters[ATTENTION][r * inner + c];
        }
    }
}

#define ROWS 4
#define VECTORS 1
#define NAME(function) function##_any
#include "block.h"
#undef NAME
#if defined(__x86_64__) && !defined(ONE_VERSION)
#if defined(__clang__) && __clang_major__ >= 13 /* 12, but Apple's numbers are one ahead */
#define VERSIONS
#elif !defined(__clang__) && defined(__gnu_linux__) && __GNUC__ >= 12
#define VERSIONS
#endif
#endif
#if defined(VERSIONS)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#endif
#define NAME(function) function##_v3
#include "block.h"
#undef NAME
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef ROWS
#undef VECTORS
#define ROWS 8
#define VECTORS 3
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#endif
#define NAME(function) function##_v4
#include "block.h"
#undef NAME
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if defined(VERSIONS) && defined(__clang__)
#define CAN(feature) __builtin_cpu_supports(feature)
#define CAN_V3 CAN("avx2") && CAN("fma") && CAN("bmi2")
#define CAN_V4 CAN_V3 && CAN("avx512f") && CAN("avx512bw") && CAN("avx512cd") && CAN("avx512dq") && CAN("avx512vl")
#elif defined(VERSIONS)
#define CAN_V3 __builtin_cpu_supports("x86-64-v3")
#define CAN_V4 __builtin_cpu_supports("x86-64-v4")
#endif
#if defined(VERSIONS)
#define CALL(function, argument, room) (CAN_V4 ? function##_v4 : CAN_V3 ? function##_v3 : function##_any)(argument, room)
#else
#define CALL(function, argument, room) function##_any(argument, room)
#endif

static float *room_for(size_t count) { return aligned_alloc(64, (count + 15) / 16 * 16 * sizeof(float)); }

static float *room_of_block(const Block *block) {
    const size_t channels = block->channels, wide = 2 * block->inner, pixels = block->height * block->width;
    const size_t border = (block->height + 2) * (block->width + 2) * wide;
    const size_t matrices = 8 * channels * wide + 40 * wide + 8 * channels, maps = pixels * (channels + wide) + border;
    return room_for(matrices + maps + (block->width + PIXELS) * 4 * (channels + wide) + 1024);
}

/* All three give 1 where there is no memory for what lies between, 0 otherwise. */

/* Fill `out` and what `block_backward` reads. */
int block_forward(const Block *block) {
    float *const room = room_of_block(block);
    if (!room) return 1;
    CALL(forward, block, room);
    free(room);
    return 0;
}

/* Fill `x_gradient` and `parameter_gradients`, of which those of project, attention and scale_spatial begin as zeros. */
int block_backward(const Block *block) {
    float *const room = room_of_block(block);
    if (!room) return 1;
    CALL(backward, block, room);
    free(room);
    return 0;
}

/* Update each parameter and its momentum. */
int muon_step(const Matrix *matrices, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const size_t rows = eights(matrices[i].rows), columns = eights(matrices[i].columns), side = least(rows, columns);
        float *const room = room_for(2 * rows * columns + 2 * side * side + 64);
        if (!room) return 1;
        CALL(muon, matrices + i, room);
        free(room);
    }
    return 0;
}
