# The Python program of the row overhead_cpython: text, JSON, big numbers, floats,
# classes and sorting, as scripts do. It prints a checksum of all of it.
import hashlib
import json
import sys


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def norm2(self):
        return self.x * self.x + self.y * self.y


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    count, free = 0, ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return count


def mandelbrot(size):
    inside = 0
    for py in range(size):
        for px in range(size):
            z, c = 0j, complex(3.0 * px / size - 2, 2.0 * py / size - 1)
            for _ in range(30):
                z = z * z + c
                if abs(z) > 2:
                    break
            else:
                inside += 1
    return inside


total = hashlib.sha256()
for i in range(int(sys.argv[1])):
    words = [f"w{(k * 7919 + i) % 601}" for k in range(4000)]
    counts = {}
    for w in words:
        counts[w] = counts.get(w, 0) + 1
    text = json.dumps(sorted(counts.items(), key=lambda p: (-p[1], p[0])))
    points = sorted((Point(k * 37 % 101, k * 53 % 97) for k in range(2000)), key=Point.norm2)
    out = [len(json.loads(text)), points[1000].norm2(), queens(7), mandelbrot(24), pow(3, 4000 + i) % 1000003]
    total.update(repr(out).encode() + text.encode())
print(total.hexdigest())
