// Winograd's transforms of rows and columns, in front of winograd.cl, whose formulas they are.
//
// They take LANES of 16 channels at a time, so that each vector is one register. Where there are fewer registers than in
// AVX-512, one side of a tile goes through memory: columns first, each on its own, then rows.

#if WIDTH == 16

#if LANES == 16
typedef vec lanes;
#elif LANES == 8
typedef float8 lanes;
#elif LANES == 4
typedef float4 lanes;
#else
#error "LANES must be 4, 8 or 16"
#endif
typedef lanes lanes_unaligned __attribute__((aligned(4)));
#define LOAD_LANES(p) (*(__global const lanes_unaligned *)(p))
#define STORE_LANES(p, v) (*(__global lanes_unaligned *)(p) = (v))
#ifdef STREAM_AS
#define STREAM_LANES(p, v) STREAM_AS(lanes, p, v)
#else
#define STREAM_LANES(p, v) STORE_LANES(p, v)
#endif

// Rows, or columns, of a tile: all at once, or each on its own where others are in memory.
#if LANES == 16
#define EACH_SIDE(i, n) _Pragma("unroll") for (int i = 0; i < n; i++)
#else
#define EACH_SIDE(i, n) _Pragma("unroll 1") for (int i = 0; i < n; i++)
#endif

// B^T d, two rows at a time: 0 and 5, 1 and 2, 3 and 4.
static inline void window_rows(const int pair, const lanes d0, const lanes d1, const lanes d2, const lanes d3,
                               const lanes d4, const lanes d5, lanes *first, lanes *second) {
  if (pair == 0) {
    *first = MAD((lanes)(4.0f), d0, MAD((lanes)(-5.0f), d2, d4));
    *second = MAD((lanes)(4.0f), d1, MAD((lanes)(-5.0f), d3, d5));
  } else if (pair == 1) {
    const lanes even = MAD((lanes)(-4.0f), d2, d4), odd = MAD((lanes)(-4.0f), d1, d3);
    *first = even + odd;
    *second = even - odd;
  } else {
    const lanes even = d4 - d2, odd = d3 - d1;
    *first = MAD((lanes)(2.0f), odd, even);
    *second = MAD((lanes)(-2.0f), odd, even);
  }
}

#define FIRST(pair) ((pair) == 0 ? 0 : 2 * (pair)-1)
#define SECOND(pair) ((pair) == 0 ? 5 : 2 * (pair))

// B^T d, six rows
static inline void window_column(lanes *to, const lanes d0, const lanes d1, const lanes d2, const lanes d3,
                                 const lanes d4, const lanes d5) {
#pragma unroll
  for (int pair = 0; pair < 3; pair++)
    window_rows(pair, d0, d1, d2, d3, d4, d5, to + FIRST(pair), to + SECOND(pair));
}

// to[frequency] = B^T window B, for LANES channels; frequencies are `step` numbers apart. PIXEL(r, c) is where a pixel's
// channels start. Pairs of rows bound the vectors that are live at once where there are many registers.
#if LANES == 16
#define TRANSFORM_WINDOW(to, step, PIXEL)                                                                             \
  _Pragma("unroll") for (int i = 0; i < 3; i++) {                                                                     \
    lanes above[6], below[6], left, right;                                                                            \
    _Pragma("unroll") for (int c = 0; c < 6; c++)                                                                     \
        window_rows(i, LOAD_LANES(PIXEL(0, c)), LOAD_LANES(PIXEL(1, c)), LOAD_LANES(PIXEL(2, c)),                     \
                    LOAD_LANES(PIXEL(3, c)), LOAD_LANES(PIXEL(4, c)), LOAD_LANES(PIXEL(5, c)), above + c, below + c); \
    _Pragma("unroll") for (int j = 0; j < 3; j++) {                                                                   \
      window_rows(j, above[0], above[1], above[2], above[3], above[4], above[5], &left, &right);                      \
      STORE_LANES(to + (FIRST(i) * 6 + FIRST(j)) * step, left);                                                       \
      STORE_LANES(to + (FIRST(i) * 6 + SECOND(j)) * step, right);                                                     \
      window_rows(j, below[0], below[1], below[2], below[3], below[4], below[5], &left, &right);                      \
      STORE_LANES(to + (SECOND(i) * 6 + FIRST(j)) * step, left);                                                      \
      STORE_LANES(to + (SECOND(i) * 6 + SECOND(j)) * step, right);                                                    \
    }                                                                                                                 \
  }
#else
#define TRANSFORM_WINDOW(to, step, PIXEL)                                                                             \
  lanes down[6][6];                                                                                                   \
  EACH_SIDE(c, 6) {                                                                                                   \
    lanes rows[6];                                                                                                    \
    window_column(rows, LOAD_LANES(PIXEL(0, c)), LOAD_LANES(PIXEL(1, c)), LOAD_LANES(PIXEL(2, c)),                    \
                  LOAD_LANES(PIXEL(3, c)), LOAD_LANES(PIXEL(4, c)), LOAD_LANES(PIXEL(5, c)));                         \
    _Pragma("unroll") for (int r = 0; r < 6; r++) down[r][c] = rows[r];                                               \
  }                                                                                                                   \
  EACH_SIDE(r, 6) {                                                                                                   \
    lanes across[6];                                                                                                  \
    window_column(across, down[r][0], down[r][1], down[r][2], down[r][3], down[r][4], down[r][5]);                    \
    _Pragma("unroll") for (int c = 0; c < 6; c++) STORE_LANES(to + (r * 6 + c) * step, across[c]);                    \
  }
#endif

// u = G w, six rows
static inline void kernel_rows(lanes *u, const lanes w0, const lanes w1, const lanes w2) {
  const lanes even = (w0 + w2) * (-1.0f / 6.0f), odd = w1 * (-1.0f / 6.0f);
  const lanes far = MAD((lanes)(1.0f / 24.0f), w0, w2 * (1.0f / 6.0f)), side = w1 * (1.0f / 12.0f);
  u[0] = w0 * 0.25f;
  u[1] = even + odd;
  u[2] = even - odd;
  u[3] = far + side;
  u[4] = far - side;
  u[5] = w2;
}

// y = A^T m, four rows
static inline void output_rows(lanes *y, const lanes m0, const lanes m1, const lanes m2, const lanes m3, const lanes m4,
                               const lanes m5) {
  const lanes near = m1 + m2, near_odd = m1 - m2, far = m3 + m4, far_odd = m3 - m4;
  y[0] = m0 + near + far;
  y[1] = MAD((lanes)(2.0f), far_odd, near_odd);
  y[2] = MAD((lanes)(4.0f), far, near);
  y[3] = MAD((lanes)(8.0f), far_odd, near_odd) + m5;
}

// A d, six rows
static inline void gradient_rows(lanes *y, const lanes d0, const lanes d1, const lanes d2, const lanes d3) {
  const lanes near = d0 + d2, near_odd = d1 + d3;
  const lanes far = MAD((lanes)(4.0f), d2, d0), far_odd = MAD((lanes)(4.0f), d3, d1);
  y[0] = d0;
  y[1] = near + near_odd;
  y[2] = near - near_odd;
  y[3] = MAD((lanes)(2.0f), far_odd, far);
  y[4] = MAD((lanes)(-2.0f), far_odd, far);
  y[5] = d3;
}

#endif
