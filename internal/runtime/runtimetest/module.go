package runtimetest

// Small modules of the WebAssembly binary format, written by hand.

// Module is a command with a page of memory whose _start has this body.
func Module(body []byte) []byte { return ModuleWithMemory(1, body) }

// ModuleWithMemory starts with so many pages, and may grow without end.
func ModuleWithMemory(pages uint32, body []byte) []byte {
	return module(nil, pages, nil, function(body))
}

// ModuleRecursion calls itself without end.
func ModuleRecursion() []byte { return module(nil, 1, nil, function([]byte{0x10, 0})) }

// ModuleMemoryBomb grows its memory by a page at a time and writes each, until
// growing fails; then it returns.
func ModuleMemoryBomb() []byte {
	return module(nil, 1, nil, function([]byte{
		0x02, 0x40, // block
		0x03, 0x40, // loop
		0x41, 1, 0x40, 0, // memory.grow 1
		0x41, 0x7f, 0x46, 0x0d, 1, // -1: leave
		0x3f, 0, 0x41, 1, 0x6b, 0x41, 16, 0x74, 0x41, 1, 0x36, 2, 0, // store at the last page
		0x0c, 0, 0x0b, 0x0b,
	}))
}

// ModuleTableBomb grows a table by 65536 elements at a time, until growing
// fails; then it returns.
func ModuleTableBomb() []byte {
	table := []byte{1, 0x70, 0, 1}
	return module(nil, 1, table, function([]byte{
		0x02, 0x40, 0x03, 0x40,
		0xd0, 0x70, 0x41, 0x80, 0x80, 4, 0xfc, 15, 0, // table.grow
		0x41, 0x7f, 0x46, 0x0d, 1,
		0x0c, 0, 0x0b, 0x0b,
	}))
}

// ModuleCount counts to n in its memory, up to 2^28.
func ModuleCount(n uint32) []byte {
	bound := append([]byte{0x41, 0, 0x28, 2, 0, 0x41}, byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21)&0x7f|0x80, 0)
	body := []byte{0x03, 0x40, 0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0} // store(0, load(0)+1)
	body = append(append(body, bound...), 0x49, 0x0d, 0, 0x0b)                          // while below n
	return Module(body)
}

func moduleImporting(from, name string) []byte {
	imports := append([]byte{1, byte(len(from))}, from...)
	imports = append(append(imports, byte(len(name))), name...)
	return module(append(imports, 0, 0), 1, nil, function(nil))
}

func function(body []byte) []byte {
	b := append(append([]byte{0}, body...), 0x0b)
	return append(uleb(uint32(len(b))), b...)
}

// module has one type () -> (), one function, which is _start, and a memory.
func module(imports []byte, pages uint32, table, code []byte) []byte {
	out := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	section := func(id byte, contents []byte) {
		if contents != nil {
			out = append(append(append(out, id), uleb(uint32(len(contents)))...), contents...)
		}
	}
	index := byte(0)
	if imports != nil {
		index = 1
	}
	section(1, []byte{1, 0x60, 0, 0})
	section(2, imports)
	section(3, []byte{1, 0})
	section(4, table)
	section(5, append([]byte{1, 0}, uleb(pages)...))
	exports := append([]byte{2, 6}, "_start"...)
	exports = append(exports, 0, index, 6)
	exports = append(exports, "memory"...)
	section(7, append(exports, 2, 0))
	section(10, append([]byte{1}, code...))
	return out
}

func uleb(v uint32) []byte {
	var b []byte
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}
