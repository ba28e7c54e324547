 ;; What makes a command of the QuickJS library for WASI: it runs the JavaScript of its first argument, with
 ;; print(text), write(path, text), read(path) ("" is stdin), args() and env(). The test puts it into the
 ;; library's text form; @name is the library's export of that name. Addresses below 1,024 are the far end of
 ;; the library's own stack of 1 MiB and free.
 (data (i32.const 64) "print\00write\00read\00args\00env\00<arg>\00")

 (func $host_get_timezone_offset (param i32 i32) (result i32) (i32.const 0))
 (func $host_interrupt (result i32) (i32.const 0))
 (func $host_promise_rejection (param i32 i32 i32))
 (func $host_module_normalize (param i32 i32) (result i32) (i32.const 0))
 (func $host_module_load (param i32 i32) (result i32) (i32.const 0))

 ;; An error of WASI ends the program.
 (func $must (param $errno i32)
  (if (local.get $errno) (then (unreachable))))

 (func $write_all (param $fd i32) (param $at i32) (param $n i32)
  (i32.store (i32.const 128) (local.get $at))
  (i32.store (i32.const 132) (local.get $n))
  (call $must (call $fimport$10 (local.get $fd) (i32.const 128) (i32.const 1) (i32.const 136))))

 ;; The text of a value; its length is left at 140.
 (func $text (param $value i32) (result i32)
  (call @qjs_get_string_len (local.get $value) (i32.const 140)))

 (func $open (param $path i32) (param $oflags i32) (param $rights i64) (result i32)
  (local $at i32)
  (local.set $at (call $text (local.get $path)))
  (call $must (call $path_open (i32.const 3) (i32.const 0) (local.get $at) (i32.load (i32.const 140))
   (local.get $oflags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 144)))
  (i32.load (i32.const 144)))

 (func $read (param $path i32) (result i32)
  (local $fd i32) (local $buf i32) (local $n i32)
  (drop (call $text (local.get $path)))
  (if (i32.load (i32.const 140)) (then (local.set $fd (call $open (local.get $path) (i32.const 0) (i64.const 2)))))
  (local.set $buf (call @wasm_malloc (i32.const 65536)))
  (loop $more
   (i32.store (i32.const 128) (i32.add (local.get $buf) (local.get $n)))
   (i32.store (i32.const 132) (i32.sub (i32.const 65536) (local.get $n)))
   (call $must (call $fd_read (local.get $fd) (i32.const 128) (i32.const 1) (i32.const 136)))
   (local.set $n (i32.add (local.get $n) (i32.load (i32.const 136))))
   (br_if $more (i32.load (i32.const 136))))
  (call @qjs_new_string (local.get $buf) (local.get $n)))

 ;; The arguments' pointers are left at the address at 160, their text at that at 156.
 (func $arguments (result i32)
  (call $must (call $args_sizes_get (i32.const 148) (i32.const 152)))
  (i32.store (i32.const 156) (call @wasm_malloc (i32.load (i32.const 152))))
  (i32.store (i32.const 160) (call @wasm_malloc (i32.shl (i32.load (i32.const 148)) (i32.const 2))))
  (call $must (call $args_get (i32.load (i32.const 160)) (i32.load (i32.const 156))))
  (call @qjs_new_string (i32.load (i32.const 156)) (i32.load (i32.const 152))))

 (func $environment (result i32)
  (local $text i32)
  (call $must (call $environ_sizes_get (i32.const 148) (i32.const 152)))
  (local.set $text (call @wasm_malloc (i32.load (i32.const 152))))
  (call $must (call $environ_get (call @wasm_malloc (i32.shl (i32.load (i32.const 148)) (i32.const 2))) (local.get $text)))
  (call @qjs_new_string (local.get $text) (i32.load (i32.const 152))))

 ;; Functions are told apart by the first letter of their name.
 (func $host_call (param $name i32) (param $len i32) (param $this i32) (param $argc i32) (param $argv i32) (result i32)
  (local $letter i32) (local $at i32) (local $fd i32)
  (local.set $letter (i32.load8_u (local.get $name)))
  (if (i32.eq (local.get $letter) (i32.const 112)) (then
   (local.set $at (call $text (i32.load (local.get $argv))))
   (call $write_all (i32.const 1) (local.get $at) (i32.load (i32.const 140)))
   (return (call @qjs_get_undefined))))
  (if (i32.eq (local.get $letter) (i32.const 119)) (then
   (local.set $fd (call $open (i32.load (local.get $argv)) (i32.const 9) (i64.const 64)))
   (local.set $at (call $text (i32.load offset=4 (local.get $argv))))
   (call $write_all (local.get $fd) (local.get $at) (i32.load (i32.const 140)))
   (call $must (call $fimport$7 (local.get $fd)))
   (return (call @qjs_get_undefined))))
  (if (i32.eq (local.get $letter) (i32.const 114)) (then (return (call $read (i32.load (local.get $argv))))))
  (if (i32.eq (local.get $letter) (i32.const 97)) (then (return (call $arguments))))
  (call $environment))

 (func $offer (param $name i32) (param $len i32) (param $argc i32)
  (drop (call @qjs_set_prop_string (call @qjs_get_global) (local.get $name)
   (call @qjs_new_host_function (local.get $name) (local.get $len) (local.get $argc)))))

 (func $_start (export "_start")
  (local $code i32) (local $n i32) (local $result i32)
  (call @_initialize)
  (call $must (call @qjs_init))
  (call $offer (i32.const 64) (i32.const 5) (i32.const 1))
  (call $offer (i32.const 70) (i32.const 5) (i32.const 2))
  (call $offer (i32.const 76) (i32.const 4) (i32.const 1))
  (call $offer (i32.const 81) (i32.const 4) (i32.const 0))
  (call $offer (i32.const 86) (i32.const 3) (i32.const 0))
  (drop (call $arguments))
  (local.set $code (i32.load offset=4 (i32.load (i32.const 160))))
  (block $found (loop $next
   (br_if $found (i32.eqz (i32.load8_u (i32.add (local.get $code) (local.get $n)))))
   (local.set $n (i32.add (local.get $n) (i32.const 1)))
   (br $next)))
  (local.set $result (call @qjs_eval (local.get $code) (local.get $n) (i32.const 90) (i32.const 0)))
  (if (call @qjs_is_exception (local.get $result)) (then
   (local.set $code (call $text (call @qjs_get_exception)))
   (call $write_all (i32.const 2) (local.get $code) (i32.load (i32.const 140)))
   (call $proc_exit (i32.const 1))))
  (block $done (loop $jobs
   (br_if $done (i32.eqz (call @qjs_is_job_pending)))
   (drop (call @qjs_execute_pending_job))
   (br $jobs)))
  (call $proc_exit (i32.const 3)))
