package gw1

// RewriteTwice is Rewrite, but emits all code in a second walk, as Rewrite does if the code becomes much longer.
func RewriteTwice(module []byte, o Options) (*Module, error) {
	return rewrite(module, o, func(int) int { return 0 })
}
