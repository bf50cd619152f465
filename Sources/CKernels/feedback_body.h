// Error feedback for one group of 16 rows, for the instruction set of the including file (see scalesearch_body.h).
//
// Part after part: 32 columns that share a scale, 16 in q6_k. A candidate line rounds the part's columns in order, each
// with the errors of those before it, and costs sum_c D_c (target_c - value_c)^2, which is what it adds to the error of
// the outputs. With the codes of the best the line is fitted anew by least squares (the targets depend on it linearly)
// and tried, as long as that helps.

/// t[j] += sum over first <= k < end of e[k] * s[k * stride + j], j < n, a multiple of FEED_COLS.
static void BODY(feed)(const mk_v16 *e, int64_t first, int64_t end, const float *s, int64_t stride, mk_v16 *t,
                       int64_t n) {
    for (int64_t k0 = first; k0 < end; k0 += FEED_ROWS) {
        const int64_t k1 = mk_min(k0 + FEED_ROWS, end);
        for (int64_t j = 0; j < n; j += FEED_COLS) {
            mk_v16 sum[FEED_COLS];
            memcpy(sum, t + j, sizeof sum);
            for (int64_t k = k0; k < k1; k++) {
                const mk_v16 error = e[k];
                const float *row = s + k * stride + j;
#pragma unroll
                for (int i = 0; i < FEED_COLS; i++) sum[i] += error * row[i];
            }
            memcpy(t + j, sum, sizeof sum);
        }
    }
}

/// A part of a group.
typedef struct {
    const mk_feedback *f;
    int n;             ///< columns
    int64_t first;     ///< the first of them
    const mk_v16 *x;   ///< its weights
    const mk_v16 *t;   ///< what they are to be with the errors of all columns before the part
    mk_v16 unit;       ///< of the rows
    mk_v16 d, dmin;    ///< of K-quants: the super-block's numbers, relative to the unit
    mk_i16 lost;       ///< rows whose d or dmin fp16 does not hold
    mk_line line;      ///< the best yet, ...
    mk_v16 error;      ///< ... what it costs ...
    mk_v16 q[COLS];    ///< ... and its codes
    mk_i16 overflows;  ///< rows with a line that fp16 does not hold
} BODY(part);

/// The line that the format has nearest to the wanted one.
MK_INLINE mk_line BODY(stored)(BODY(part) * p, mk_v16 scale, mk_v16 minimum) {
    const mk_v16 zero = (mk_v16)(0.0f);
    mk_line l = {zero, zero, (mk_i16)(0), (mk_i16)(0)};
    switch (p->f->type) {
        case MK_Q4_K:
        case MK_Q5_K:
        case MK_Q6_K: {
            const bool is_signed = p->f->type == MK_Q6_K;
            const mk_v16 low = (mk_v16)(is_signed ? -128.0f : 0.0f), high = (mk_v16)(is_signed ? 127.0f : 63.0f);
            mk_v16 s = scale * BODY(invert)(p->d), m = -minimum * BODY(invert)(p->dmin);
            s = BODY(choose)(s > low, s, low);
            s = ROUND(BODY(choose)(s < high, s, high));
            m = BODY(choose)(m > 0.0f, m, zero);
            m = ROUND(BODY(choose)(m < high, m, high));
            if (is_signed) m = zero;
            l.scale = p->d * s;
            l.minimum = zero - p->dmin * m;
            l.scale_bits = __builtin_convertvector(s, mk_i16);
            l.minimum_bits = __builtin_convertvector(m, mk_i16);
            return l;
        }
        case MK_Q4_1:
            l.minimum_bits = BODY(representable)(minimum * p->unit + 0.0f);
            l.minimum = BODY(from_half)(l.minimum_bits) / p->unit;
            p->overflows |= (l.minimum_bits & 0x7fff) == 0x7c00;
    }
    l.scale_bits = BODY(representable)(scale * p->unit + 0.0f);
    l.scale = BODY(from_half)(l.scale_bits) / p->unit;
    p->overflows |= (l.scale_bits & 0x7fff) == 0x7c00;
    return l;
}

/// Rounds the part by a line and keeps it in the rows where that is the best yet.
MK_INLINE void BODY(try)(BODY(part) * p, rounding kind, mk_line l) {
    const mk_feedback *f = p->f;
    const mk_v16 inverse = BODY(invert)(l.scale);
    mk_v16 t[COLS], q[COLS], error = (mk_v16)(0.0f);
    memcpy(t, p->t, (size_t)p->n * sizeof *t);
    for (int c = 0; c < p->n; c++) {
        const float *row = f->unit + (p->first + c) * f->cols + p->first;
        q[c] = BODY(nearest)(&f->grid, kind, false, (t[c] - l.minimum) * inverse);
        const mk_v16 value = l.scale * q[c] + l.minimum, rest = t[c] - value, back = p->x[c] - value;
        error += f->weight[p->first + c] * (rest * rest);
        for (int k = c + 1; k < p->n; k++) t[k] += back * row[k];
    }
    const mk_i16 better = error < p->error;
    p->error = BODY(choose)(better, error, p->error);
    p->line.scale = BODY(choose)(better, l.scale, p->line.scale);
    p->line.minimum = BODY(choose)(better, l.minimum, p->line.minimum);
    p->line.scale_bits = (better & l.scale_bits) | (~better & p->line.scale_bits);
    p->line.minimum_bits = (better & l.minimum_bits) | (~better & p->line.minimum_bits);
    for (int c = 0; c < p->n; c++) p->q[c] = BODY(choose)(better, q[c], p->q[c]);
}

/// The line that costs least with the best's codes.
MK_INLINE mk_line BODY(fitted)(BODY(part) * p, bool has_minimum) {
    const mk_feedback *f = p->f;
    const mk_v16 zero = (mk_v16)(0.0f);
    // target - value = a - scale * g - minimum * o, each with what the columns before it feed back.
    mk_v16 a[COLS], g[COLS];
    float o[COLS];
    mk_v16 ag = zero, ao = zero, gg = zero, go = zero;
    float oo = 0;
    for (int c = 0; c < p->n; c++) {
        a[c] = p->t[c];
        g[c] = p->q[c];
        o[c] = 1;
    }
    for (int c = 0; c < p->n; c++) {
        const float *row = f->unit + (p->first + c) * f->cols + p->first;
        for (int k = c + 1; k < p->n; k++) {
            a[k] += p->x[c] * row[k];
            g[k] += p->q[c] * row[k];
            o[k] += row[k];
        }
        const float d = f->weight[p->first + c];
        ag += d * (a[c] * g[c]);
        gg += d * (g[c] * g[c]);
        ao += d * (a[c] * o[c]);
        go += d * (g[c] * o[c]);
        oo += d * (o[c] * o[c]);
    }
    const mk_v16 alone = ag * BODY(invert)(gg);
    if (!has_minimum) return BODY(stored)(p, alone, zero);
    const mk_v16 determinant = BODY(invert)(gg * oo - go * go);
    mk_v16 scale = (ag * oo - ao * go) * determinant, minimum = (ao * gg - ag * go) * determinant;
    if (f->type != MK_Q4_1) {  // a minimum is at most 0
        scale = BODY(choose)(minimum > 0.0f, alone, scale);
        minimum = BODY(choose)(minimum > 0.0f, zero, minimum);
    }
    return BODY(stored)(p, scale, minimum);
}

/// Tries the lines that the best one of the part is searched among.
MK_INLINE void BODY(search_part)(BODY(part) * p, rounding kind, const mk_grid *g) {
    const mk_v16 zero = (mk_v16)(0.0f);
    const int32_t type = p->f->type;
    mk_v16 largest = p->t[0], least = p->t[0], most = p->t[0];
    for (int c = 1; c < p->n; c++) {
        const mk_v16 t = p->t[c];
        largest = BODY(choose)(__builtin_elementwise_abs(t) > __builtin_elementwise_abs(largest), t, largest);
        least = BODY(choose)(t < least, t, least);
        most = BODY(choose)(t > most, t, most);
    }
    p->error = (mk_v16)(INFINITY);
    p->overflows = (mk_i16)(0);
    p->line = (mk_line){zero, zero, (mk_i16)(0), (mk_i16)(0)};
    memset(p->q, 0, sizeof p->q);
    BODY(try)(p, kind, p->line);
    const bool has_minimum = type == MK_Q4_1 || type == MK_Q4_K || type == MK_Q5_K;
    if (has_minimum) {
        static const float cuts[] = {-0.03f, 0, 0.03f, 0.07f, 0.12f};
        enum { CUTS = sizeof cuts / sizeof cuts[0] };
        if (type != MK_Q4_1) least = BODY(choose)(least < 0.0f, least, zero);
        for (int i = 0; i < CUTS * CUTS; i++) {
            const mk_v16 range = most - least;
            const mk_v16 scale = range * ((1 - cuts[i / CUTS] - cuts[i % CUTS]) / g->highest);
            BODY(try)(p, kind, BODY(stored)(p, scale, least + range * cuts[i / CUTS]));
        }
    } else {
        for (int i = 0; i < g->ends * g->candidates; i++) {
            const float end = i < g->candidates ? g->highest : g->lowest;
            const float reach = end * (g->first + (float)(i % g->candidates) * g->spacing);
            BODY(try)(p, kind, BODY(stored)(p, largest / reach, zero));
        }
    }
    for (int round = 0; round < 3; round++) BODY(try)(p, kind, BODY(fitted)(p, has_minimum));
    if (mk_tile_columns(type) == COLS) return;
    const mk_line best = p->line;  // its neighbours among the integers
    for (int i = 0; i < (has_minimum ? 9 : 3); i++) {
        static const float steps[] = {0, -1, 1};
        const mk_v16 scale = best.scale + p->d * steps[i % 3], minimum = best.minimum - p->dmin * steps[i / 3];
        if (i > 0) BODY(try)(p, kind, BODY(stored)(p, scale, minimum));
    }
}

/// Takes the numbers of a super-block from the search without feedback, for what its columns are to be now.
MK_INLINE void BODY(begin_super)(BODY(part) * p, const mk_v16 *t, const float *unit, mk_affine_row *rows) {
    mk_affine_search(p->f->type, t, unit, rows);
    mk_i16 d, dmin;
    for (int r = 0; r < ROWS; r++) {
        d[r] = rows[r].d;
        dmin[r] = rows[r].dmin;
    }
    p->d = BODY(from_half)(d) / p->unit;
    p->dmin = BODY(from_half)(dmin) / p->unit;
    p->lost = ((d & 0x7fff) == 0x7c00) | ((dmin & 0x7fff) == 0x7c00);
}

MK_INLINE void BODY(feedback)(const mk_feedback *f, rounding kind, const float *src, int rows, uint8_t *dst,
                              float *errors, mk_v16 *memory) {
    const int64_t cols = f->cols, tile = mk_tile_columns(f->type);
    const int width = f->type == MK_Q6_K ? 16 : COLS;
    mk_v16 *x = memory, *e = memory + cols;
    float unit[ROWS], inverse[ROWS];
    mk_i16 present;
    for (int r = 0; r < ROWS; r++) {
        unit[r] = r < rows ? BODY(unit_of)(src + r * cols, cols) : 1;
        inverse[r] = 1 / unit[r];
        present[r] = r < rows ? -1 : 0;
    }
    for (int64_t c0 = 0; c0 < cols; c0 += ROWS) {
        mk_v16 block[ROWS];
        for (int r = 0; r < ROWS; r++) {
            block[r] = r < rows ? *(const mk_v16_memory *)(src + r * cols + c0) * inverse[r] : (mk_v16)(0.0f);
        }
        BODY(transpose)(block, x + c0);
    }
    BODY(part) part = {.f = f, .n = width};
    memcpy(&part.unit, unit, sizeof unit);
    mk_v16 t[MK_FEEDBACK_SPAN], error = (mk_v16)(0.0f);
    mk_i16 codes[MK_FEEDBACK_SPAN], scales[16], minimums[16];
    mk_affine_row whole[ROWS];
    for (int64_t first = 0; first < cols; first += MK_FEEDBACK_SPAN) {
        const int64_t span = mk_min(MK_FEEDBACK_SPAN, cols - first);
        memcpy(t, x + first, (size_t)span * sizeof *t);
        BODY(feed)(e, 0, first, f->unit + first, cols, t, span);
        if (tile == MK_FEEDBACK_SPAN) BODY(begin_super)(&part, t, unit, whole);
        for (int64_t c = 0; c < span; c += width) {
            part.first = first + c;
            part.x = x + part.first;
            part.t = t + c;
            BODY(search_part)(&part, kind, &f->grid);
            // A row whose every line was beyond fp16 shows that by its error: the caller refuses it.
            const mk_i16 lost = part.lost | (part.overflows & (part.line.scale == 0.0f));
            error += BODY(choose)(lost, (mk_v16)(INFINITY), part.error);
            scales[c / width] = part.line.scale_bits & present;
            minimums[c / width] = part.line.minimum_bits & present;
            for (int i = 0; i < width; i++) {
                codes[c + i] = BODY(nearest_code)(&f->grid, kind, part.q[i]) & present;
                e[part.first + i] = part.x[i] - (part.line.scale * part.q[i] + part.line.minimum);
            }
            const int64_t next = c + width;
            if (next < span) {
                BODY(feed)(e, part.first, part.first + width, f->unit + first + next, cols, t + next, span - next);
            }
        }
        for (int64_t c = 0; c < span; c += tile) {
            if (!mk_type_is_affine(f->type)) {
                BODY(store)(kind, scales[c / COLS], codes + c, present, dst);
            } else {
                memset(dst, 0, (size_t)mk_tile_bytes(f->type));
                for (int r = 0; r < rows; r++) {
                    mk_affine_row *row = whole + r;
                    if (f->type == MK_Q4_1) {
                        row->d = (uint16_t)scales[c / COLS][r];
                        row->dmin = (uint16_t)minimums[c / COLS][r];
                    }
                    for (int i = 0; i < tile / width && f->type != MK_Q4_1; i++) {
                        row->scales[i] = (uint8_t)scales[i][r];
                        if (f->type != MK_Q6_K) row->minimums[i] = (uint8_t)minimums[i][r];
                    }
                    for (int i = 0; i < tile; i++) row->codes[i] = (uint8_t)codes[c + i][r];
                    mk_affine_store(f->type, row, r, dst);
                }
            }
            dst += mk_tile_bytes(f->type);
        }
    }
    for (int r = 0; r < rows; r++) errors[r] = error[r] * unit[r] * unit[r];
}

static void BODY(feedback_group)(const mk_feedback *f, const float *src, int rows, uint8_t *dst, float *errors,
                                 mk_v16 *memory) {
    if (f->type == MK_Q8_0) {
        BODY(feedback)(f, EIGHT_BITS, src, rows, dst, errors, memory);
    } else if (f->grid.linear) {
        BODY(feedback)(f, FOUR_BITS, src, rows, dst, errors, memory);
    } else {
        BODY(feedback)(f, CODEBOOK, src, rows, dst, errors, memory);
    }
}

static void BODY(subtract)(const double *a, const double *panel, int64_t stride, int64_t first, int64_t end,
                           double *row) {
    typedef double v8 __attribute__((ext_vector_type(8)));
    typedef double v8_memory __attribute__((ext_vector_type(8), aligned(8)));
    int64_t l = first;
    for (; l + 16 <= end; l += 16) {
        v8 low = *(const v8_memory *)(row + l), high = *(const v8_memory *)(row + l + 8);
        for (int j = 0; j < MK_FACTOR_PANEL; j++) {
            const double *p = panel + j * stride + l;
            low -= a[j] * *(const v8_memory *)p;
            high -= a[j] * *(const v8_memory *)(p + 8);
        }
        *(v8_memory *)(row + l) = low;
        *(v8_memory *)(row + l + 8) = high;
    }
    for (; l < end; l++) {
        double sum = row[l];
        for (int j = 0; j < MK_FACTOR_PANEL; j++) sum -= a[j] * panel[j * stride + l];
        row[l] = sum;
    }
}

const mk_quantizer BODY(mk_quantizer) = {BODY(mk_quantize_group), BODY(feedback_group), BODY(subtract)};
