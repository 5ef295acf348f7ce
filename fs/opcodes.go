package fs

// opcodes are the operations that are counted and traced, by opcode (include/uapi/linux/fuse.h). What only looks (LOOKUP, GETATTR, READDIR, POLL) is not among them.
var opcodes = map[uint32]string{
	4: "SETATTR", 6: "SYMLINK", 8: "MKNOD", 9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", opOPEN: "OPEN", opREAD: "READ", opWRITE: "WRITE",
	opRELEASE: "RELEASE", 21: "SETXATTR", 24: "REMOVEXATTR", 32: "SETLK", 33: "SETLKW", 35: "CREATE", 43: "FALLOCATE", opRENAME2: "RENAME",
	47: "COPY_FILE_RANGE", maxOpcode: "TMPFILE",
}

// The opcodes that are asked for by number.
const (
	opOPEN    = 14
	opREAD    = 15
	opWRITE   = 16
	opRELEASE = 18
	opRENAME2 = 45 // RENAME with flags
	maxOpcode = 51
)
