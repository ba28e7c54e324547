package gw1

// Limits of the profile on modules. A module over a limit is refused.
const (
	MaxModuleBytes = 64 << 20 // size of the module as given

	MaxTypes     = 1 << 16 // entries of the type section
	MaxFunctions = 1 << 20 // functions, imported ones included
	MaxGlobals   = 1 << 16
	MaxExports   = 1 << 16
	MaxSegments  = 1 << 18 // element segments; data segments
	MaxParams    = 256     // of one function
	MaxResults   = 16      // of one function or block type; also parameters of a block
	MaxLocals    = 40_000  // of one function, parameters included
	MaxBodyBytes = 8 << 20 // of one function
	MaxNesting   = 1 << 16 // blocks open at a time
	MaxOperands  = 1 << 16 // height of the operand stack

	// MaxTotalLocals bounds the declared locals of all functions together: a few bytes declare thousands,
	// and they bound the native stack that functions outside any recursion can take.
	MaxTotalLocals = 4 << 20

	// MaxGrows bounds the memory.grow and table.grow instructions of a module, which become twenty times as long.
	MaxGrows = 1 << 16

	MaxTables        = 8
	MaxTableElements = 1 << 20 // also the maximum that table.grow can reach

	// MaxMemoryBytes is what a 32-bit memory can address; the limit of a job is lower and the adapter's.
	MaxMemoryBytes = 1 << 32

	// MaxImageBytes is the largest initial memory that Rewrite folds into Module.Image.
	MaxImageBytes = 64 << 20

	// DepthSlots is the call depth that a run starts with. Entering a function that can recurse takes
	// its weight: depthFrame + locals + the greatest height of its operand stack, and leaving gives it back.
	DepthSlots = 1 << 20

	pageBytes = 64 << 10
)

// Fuel charged outside the module's own instructions. One work unit is 1e9 fuel. What an item owes is
// FuelPerItem + FuelPerInputByte·(bytes of arguments, environment, stdin and files) + fuel of the run
// + FuelPerOutputByte·(bytes of stdout, stderr and output files) + FuelPerDigestedBlock·(4 KiB blocks digested).
const (
	FuelPerItem          = 100_000
	FuelPerInputByte     = 2
	FuelPerOutputByte    = 4
	FuelPerDigestedBlock = 4_000
)

// Fuel charged by the host for its calls and by the rewritten module for operations whose cost depends on
// their operands.
const (
	FuelPerHostCall  = 500   // any host call
	FuelPerPathCall  = 2_000 // added by calls that resolve a path
	FuelPerDirEntry  = 50    // added per directory entry listed and per poll subscription
	HostBytesPerFuel = 4     // bytes moved between host and memory per fuel
	BulkBytesPerFuel = 8     // bytes per fuel of memory.fill, memory.copy and memory.init
	FuelPerGrownPage = 8_192 // memory.grow, per 64 KiB page that was granted
	FuelPerTableSlot = 1     // table.grow, table.fill, table.copy, table.init, per element
)

// Values of the exported global Module.GlobalTrap after a trap.
const (
	TrapProgram = 0 // the program's own: unreachable, memory, table, indirect call, integer, …
	TrapFuel    = 1 // fuel ran out
	TrapDepth   = 2 // call depth ran out
)
