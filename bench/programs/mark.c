// An integer program in the manner of embedded benchmarks, for the row
// overhead_coremark: linked lists, small matrices, a state machine over text and a
// checksum over all of it. It prints the checksum. build.sh makes mark.wasm of it.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint16_t crc_byte(uint8_t byte, uint16_t crc) {
  for (int i = 0; i < 8; i++) {
    int carry = (byte ^ crc) & 1;
    byte >>= 1;
    crc >>= 1;
    if (carry) crc ^= 0xa001;
  }
  return crc;
}

static uint16_t crc_word(uint32_t v, uint16_t crc) {
  for (int i = 0; i < 4; i++) crc = crc_byte(v >> (8 * i), crc);
  return crc;
}

// --- lists

struct cell {
  struct cell *next;
  int16_t key, number;
};

enum { CELLS = 60 };

static int by_key(const struct cell *a, const struct cell *b) { return a->key - b->key; }
static int by_number(const struct cell *a, const struct cell *b) { return a->number - b->number; }

static struct cell *merge_sort(struct cell *list, int (*order)(const struct cell *, const struct cell *)) {
  for (int width = 1;; width *= 2) {
    struct cell *left = list, *tail = NULL;
    int merges = 0;
    list = NULL;
    while (left) {
      struct cell *right = left;
      int lefts = 0, rights = width;
      merges++;
      while (lefts < width && right) lefts++, right = right->next;
      while (lefts > 0 || (rights > 0 && right)) {
        struct cell *c;
        if (lefts > 0 && (rights == 0 || !right || order(left, right) <= 0)) {
          c = left, left = left->next, lefts--;
        } else {
          c = right, right = right->next, rights--;
        }
        if (tail) tail->next = c;
        else list = c;
        tail = c;
      }
      left = right;
    }
    tail->next = NULL;
    if (merges <= 1) return list;
  }
}

static struct cell *reverse(struct cell *list) {
  struct cell *done = NULL;
  while (list) {
    struct cell *next = list->next;
    list->next = done;
    done = list;
    list = next;
  }
  return done;
}

static const struct cell *find(const struct cell *list, int16_t key) {
  while (list && list->key != key) list = list->next;
  return list;
}

static uint16_t lists(struct cell *cells, uint16_t seed, uint16_t crc) {
  struct cell *list = NULL;
  for (int i = 0; i < CELLS; i++) {
    cells[i].key = (int16_t)((i * 7919 + seed) % 1009);
    cells[i].number = (int16_t)i;
    cells[i].next = list;
    list = &cells[i];
  }
  list = merge_sort(list, by_key);
  for (int i = 0; i < CELLS; i++) {
    const struct cell *c = find(list, (int16_t)((i * 31 + seed) % 1009));
    if (c) crc = crc_byte((uint8_t)c->number, crc);
    list = reverse(list);
  }
  list = merge_sort(list, by_number);
  for (const struct cell *c = list; c; c = c->next) crc = crc_byte((uint8_t)c->key, crc);
  return crc;
}

// --- matrices

enum { SIDE = 12 };
static int16_t ma[SIDE][SIDE], mb[SIDE][SIDE];
static int32_t mc[SIDE][SIDE];

static uint16_t matrices(uint16_t seed, uint16_t crc) {
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) ma[i][j] = (int16_t)(seed + i * j), mb[i][j] = (int16_t)(seed - i + 3 * j);
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      int32_t sum = 0;
      for (int k = 0; k < SIDE; k++) sum += ma[i][k] * mb[k][j];
      mc[i][j] = sum;
    }
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      int32_t sum = 0;
      for (int k = 0; k < SIDE; k++) {
        int32_t p = ma[i][k] * mb[k][j];
        sum += ((p >> 2) & 0x0f) * ((p >> 5) & 0x7f);
      }
      mc[i][j] ^= sum;
    }
  int32_t total = 0;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) total += mc[i][j] > 1000 ? 10 : mc[i][j];
  return crc_word((uint32_t)total, crc);
}

// --- a state machine that tells kinds of numbers apart

enum state { START, SIGN, WHOLE, POINT, FRACTION, MARK, EXPONENT, WRONG, STATES };

static enum state number_kind(const char **text, uint32_t *steps) {
  enum state s = START;
  const char *p = *text;
  for (; *p && *p != ','; p++) {
    int digit = *p >= '0' && *p <= '9';
    steps[s]++;
    switch (s) {
    case START: s = digit ? WHOLE : *p == '+' || *p == '-' ? SIGN : *p == '.' ? POINT : WRONG; break;
    case SIGN: s = digit ? WHOLE : *p == '.' ? POINT : WRONG; break;
    case WHOLE: s = digit ? WHOLE : *p == '.' ? POINT : *p == 'e' ? MARK : WRONG; break;
    case POINT: s = digit ? FRACTION : WRONG; break;
    case FRACTION: s = digit ? FRACTION : *p == 'e' ? MARK : WRONG; break;
    case MARK: s = digit || *p == '-' || *p == '+' ? EXPONENT : WRONG; break;
    case EXPONENT: s = digit ? EXPONENT : WRONG; break;
    default: break;
    }
  }
  *text = *p ? p + 1 : p;
  return s;
}

static uint16_t states(char *text, uint16_t seed, uint16_t crc) {
  static const char *kinds[] = {"5012", "1234", "-874", "+122", "35.54400", ".1234500", "-110.700", "+0.64400", "5.500e+3", "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};
  uint32_t steps[STATES] = {0}, finals[STATES] = {0};
  char *end = text;
  for (int i = 0; i < 48; i++) {
    const char *kind = kinds[(i * 5 + seed) & 15];
    size_t n = strlen(kind);
    memcpy(end, kind, n);
    end += n;
    *end++ = ',';
  }
  *end = 0;
  for (const char *p = text; *p;) finals[number_kind(&p, steps)]++;
  for (char *p = text; p < end; p += 1 + seed % 7)
    if (*p != ',') *p ^= (char)(seed & 3);
  for (const char *p = text; *p;) finals[number_kind(&p, steps)]++;
  for (int i = 0; i < STATES; i++) crc = crc_word(finals[i], crc_word(steps[i], crc));
  return crc;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 1;
  struct cell *cells = malloc(CELLS * sizeof *cells);
  char *text = malloc(1024);
  uint16_t crc = 0xffff;
  for (int i = 0; i < rounds; i++) {
    crc = lists(cells, (uint16_t)i, crc);
    crc = matrices((uint16_t)(i ^ crc), crc);
    crc = states(text, (uint16_t)i, crc);
  }
  printf("%04x\n", crc);
  return 0;
}
