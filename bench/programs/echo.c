// Copies up to 4 KiB from stdin to stdout, for the row worker_roundtrip_p50: no
// libc, so that what it costs is the way in and out. build.sh makes echo.wasm of it.
#include <stddef.h>
#include <stdint.h>

struct part {
  char *bytes;
  size_t size;
};

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_read")))
uint16_t fd_read(int fd, const struct part *parts, size_t count, size_t *n);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write")))
uint16_t fd_write(int fd, const struct part *parts, size_t count, size_t *n);

static char bytes[4096];

__attribute__((export_name("_start")))
void start(void) {
  struct part p = {bytes, sizeof bytes};
  size_t n = 0;
  if (fd_read(0, &p, 1, &n) != 0) __builtin_trap();
  p.size = n;
  if (fd_write(1, &p, 1, &n) != 0) __builtin_trap();
}
