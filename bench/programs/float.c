// Dense float64 kernels for the row overhead_float: "nbody" (planets of the solar
// system, square roots and divisions) and "matrix" (a product of matrices). It
// prints a number that depends on all of the work. build.sh makes float.wasm of it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct body {
  double x, y, z, vx, vy, vz, mass;
};

// A sun and four giants in astronomical units, days and rounded masses.
static struct body bodies[] = {
    {0, 0, 0, 0, 0, 0, 39.5},
    {4.84, -1.16, -0.10, 0.606, 2.81, -0.0252, 0.0377},
    {8.34, 4.12, -0.404, -1.01, 1.82, 0.00842, 0.0113},
    {12.9, -15.1, -0.223, 1.08, 0.869, -0.0109, 0.00172},
    {15.4, -25.9, 0.179, 0.979, 0.594, -0.0348, 0.00203},
};
enum { BODIES = sizeof bodies / sizeof bodies[0] };

static void advance(double dt) {
  for (int i = 0; i < BODIES; i++) {
    struct body *a = &bodies[i];
    for (int j = i + 1; j < BODIES; j++) {
      struct body *b = &bodies[j];
      double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
      double d2 = dx * dx + dy * dy + dz * dz;
      double pull = dt / (d2 * sqrt(d2));
      a->vx -= dx * b->mass * pull;
      a->vy -= dy * b->mass * pull;
      a->vz -= dz * b->mass * pull;
      b->vx += dx * a->mass * pull;
      b->vy += dy * a->mass * pull;
      b->vz += dz * a->mass * pull;
    }
  }
  for (int i = 0; i < BODIES; i++) {
    struct body *a = &bodies[i];
    a->x += dt * a->vx;
    a->y += dt * a->vy;
    a->z += dt * a->vz;
  }
}

static double energy(void) {
  double e = 0;
  for (int i = 0; i < BODIES; i++) {
    struct body *a = &bodies[i];
    e += 0.5 * a->mass * (a->vx * a->vx + a->vy * a->vy + a->vz * a->vz);
    for (int j = i + 1; j < BODIES; j++) {
      struct body *b = &bodies[j];
      double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
      e -= a->mass * b->mass / sqrt(dx * dx + dy * dy + dz * dz);
    }
  }
  return e;
}

enum { SIDE = 192 };
static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static double product(int rounds) {
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) a[i][j] = 1.0 / (i + j + 1), b[i][j] = (i - j) * 0.001;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < SIDE; i++) {
      for (int j = 0; j < SIDE; j++) c[i][j] *= 0.5;
      for (int k = 0; k < SIDE; k++) {
        double v = a[i][k];
        for (int j = 0; j < SIDE; j++) c[i][j] += v * b[k][j];
      }
    }
  }
  double sum = 0;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) sum += c[i][j] * (i + 2 * j);
  return sum;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int rounds = atoi(argv[2]);
  if (strcmp(argv[1], "nbody") == 0) {
    for (int i = 0; i < rounds; i++) advance(0.01);
    printf("%.17g\n", energy());
  } else {
    printf("%.17g\n", product(rounds));
  }
  return 0;
}
