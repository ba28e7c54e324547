;; mix TEXT ROUNDS: prints, as 16 hex digits and a newline, what so many rounds of
;; xorshift make of the FNV-1a hash of the text. It needs a page of memory and little time.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)

  (func $hash (param $p i32) (result i64) (local $h i64)
    (local.set $h (i64.const 0xcbf29ce484222325))
    (block $end (loop $next
      (br_if $end (i32.eqz (i32.load8_u (local.get $p))))
      (local.set $h (i64.mul (i64.xor (local.get $h) (i64.load8_u (local.get $p))) (i64.const 0x100000001b3)))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br $next)))
    (local.get $h))

  (func $number (param $p i32) (result i64) (local $n i64)
    (block $end (loop $next
      (br_if $end (i32.eqz (i32.load8_u (local.get $p))))
      (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 10)) (i64.sub (i64.load8_u (local.get $p)) (i64.const 48))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br $next)))
    (local.get $n))

  (func (export "_start") (local $x i64) (local $n i64) (local $i i32) (local $d i32)
    (if (call $sizes (i32.const 0) (i32.const 4)) (then (call $exit (i32.const 2))))
    (if (i32.or (i32.ne (i32.load (i32.const 0)) (i32.const 3)) (i32.gt_u (i32.load (i32.const 4)) (i32.const 4096)))
      (then (call $exit (i32.const 2))))
    (if (call $args (i32.const 16) (i32.const 64)) (then (call $exit (i32.const 2))))
    (local.set $x (i64.or (call $hash (i32.load (i32.const 20))) (i64.const 1)))
    (local.set $n (call $number (i32.load (i32.const 24))))
    (block $end (loop $next
      (br_if $end (i64.eqz (local.get $n)))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br $next)))
    ;; 16 digits at 8192, the highest first
    (block $end (loop $next
      (br_if $end (i32.eq (local.get $i) (i32.const 16)))
      (local.set $d (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 60))))
      (i32.store8 (i32.add (i32.const 8192) (local.get $i))
        (i32.add (local.get $d) (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get $d) (i32.const 9)))))
      (local.set $x (i64.shl (local.get $x) (i64.const 4)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (i32.store8 (i32.const 8208) (i32.const 10))
    (i32.store (i32.const 8224) (i32.const 8192))
    (i32.store (i32.const 8228) (i32.const 17))
    (if (call $write (i32.const 1) (i32.const 8224) (i32.const 1) (i32.const 8232)) (then (call $exit (i32.const 2))))))
