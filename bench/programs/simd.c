// A product of float32 matrices with vectors of four, for the row overhead_simd:
// blocks of 4 x 8 results in registers, as tuned libraries do it. It prints a
// number that depends on all of the work. build.sh makes simd.wasm of it.
#include <stdio.h>
#include <stdlib.h>
#include <wasm_simd128.h>

enum { SIDE = 256 };
static float a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static void block(int i, int j) {
  v128_t r[4][2];
  for (int y = 0; y < 4; y++)
    for (int x = 0; x < 2; x++) r[y][x] = wasm_v128_load(&c[i + y][j + 4 * x]);
  for (int k = 0; k < SIDE; k++) {
    v128_t b0 = wasm_v128_load(&b[k][j]), b1 = wasm_v128_load(&b[k][j + 4]);
    for (int y = 0; y < 4; y++) {
      v128_t v = wasm_v128_load32_splat(&a[i + y][k]);
      r[y][0] = wasm_f32x4_add(r[y][0], wasm_f32x4_mul(v, b0));
      r[y][1] = wasm_f32x4_add(r[y][1], wasm_f32x4_mul(v, b1));
    }
  }
  for (int y = 0; y < 4; y++)
    for (int x = 0; x < 2; x++) wasm_v128_store(&c[i + y][j + 4 * x], r[y][x]);
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 1;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) a[i][j] = 1.0f / (float)(i + j + 1), b[i][j] = (float)(i - j) * 0.001f;
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < SIDE; i += 4)
      for (int j = 0; j < SIDE; j += 8) block(i, j);
  double sum = 0;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) sum += (double)c[i][j] * (i + 2 * j);
  printf("%.17g\n", sum);
  return 0;
}
