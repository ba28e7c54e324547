// The test of gw1's host with wasi-libc. cprog.wasm is built from it:
//   clang --target=wasm32-wasi -O2 -Wl,-s cprog.c -o cprog.wasm -lm
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void input(void) {
  char line[100];
  if (fgets(line, sizeof line, stdin)) printf("stdin %s\n", line);
  FILE *f = fopen("in/a.txt", "r");
  size_t n = fread(line, 1, sizeof line - 1, f);
  line[n] = 0;
  fclose(f);
  printf("file %s\n", line);
  f = fopen("/in/a.txt", "w");
  printf("write to input: %d %s\n", f != NULL, strerror(errno));
  f = fopen("../etc/passwd", "r");
  printf("escape: %d\n", f != NULL);
}

static void output(void) {
  struct stat st;
  FILE *f = fopen("out/result.txt", "w");
  fprintf(f, "sqrt %.17g\n", sqrt(2));
  fclose(f);
  mkdir("out/sub", 0777);
  f = fopen("out/sub/z", "a+");
  fputs("zz", f);
  fclose(f);
  stat("out/sub/z", &st);
  printf("size %d\n", (int)st.st_size);
  DIR *d = opendir("/");
  for (struct dirent *e; (e = readdir(d));) printf("%s ", e->d_name);
  closedir(d);
  printf("\n");
}

int main(int argc, char **argv) {
  printf("argc %d, last %s, K=%s\n", argc, argv[argc - 1], getenv("K"));
  input();
  output();
  printf("terminal %d %d, time %ld\n", isatty(0), isatty(1), (long)time(0));
  double sum = 0;
  for (int i = 0; i < 100000; i++) sum += sin(i) * 0.5;
  printf("sum %.17g, nan %g\n", sum, 0.0 / (sum - sum));
  char *p = malloc(5 << 20);
  memset(p, 1, 5 << 20);
  printf("heap %d\n", p[12345]);
  sleep(2);
  return 5;
}
