package fs

import (
	"bytes"
	"fmt"
)

// The files of proc/sysvipc are to the column what the kernel's own are (ipc/msg.c:sysvipc_msg_proc_show, ipc/shm.c:sysvipc_shm_proc_show, ipc/sem.c), so that ipcs(1) and
// lsipc(1) read them. The id of an object is its inode number, and so is its key, or 0 (IPC_PRIVATE) if it has no name.

const (
	sysvMsgHead = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n"
	sysvShmHead = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n"
	sysvSemHead = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
)

// shmDest is SHM_DEST: the segment was removed and goes with the last who has it (include/linux/shm.h).
const shmDest = 0o1000

// key is the key of an object.
func (k known) key() uint64 {
	if !k.named {
		return 0
	}
	return k.ino
}

// sysvMsg is proc/sysvipc/msg. A queue that was removed is none any more, whoever still has it open.
func sysvMsg(rows []row) []byte {
	var b bytes.Buffer
	b.WriteString(sysvMsgHead)
	for _, r := range rows {
		v := numbers(msgqColumns, r.values)
		if v["removed"] != 0 {
			continue
		}
		fmt.Fprintf(&b, "%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n",
			r.key(), r.ino, r.perm.Mode&0o777, v["q_cbytes"], v["q_qnum"], v["q_lspid"], v["q_lrpid"],
			r.perm.UID, r.perm.GID, r.cuid, r.cgid, v["q_stime"], v["q_rtime"], v["q_ctime"])
	}
	return b.Bytes()
}

// sysvShm is proc/sysvipc/shm. Nothing of a segment is swapped as far as can be seen from here.
func sysvShm(rows []row) []byte {
	var b bytes.Buffer
	b.WriteString(sysvShmHead)
	for _, r := range rows {
		v := numbers(shmColumns, r.values)
		mode := r.perm.Mode & 0o777
		if !r.named {
			mode |= shmDest
		}
		fmt.Fprintf(&b, "%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n",
			r.key(), r.ino, mode, v["shm_segsz"], v["shm_cprid"], v["shm_lprid"], v["shm_nattch"],
			r.perm.UID, r.perm.GID, r.cuid, r.cgid, v["shm_atime"], v["shm_dtime"], v["shm_ctime"], v["rss"], 0)
	}
	return b.Bytes()
}

// numbers are values by the names of their columns.
func numbers(columns []column, values []int64) map[string]int64 {
	m := make(map[string]int64, len(columns))
	for c, v := range values {
		m[columns[c].name] = v
	}
	return m
}

// procSysv is a file of proc/sysvipc about a kind.
func (f *FS) procSysv(k kind, show func([]row) []byte) func() func() []byte {
	return func() func() []byte {
		objects := f.objectsByKind()[k.name()]
		return f.soon(len(objects), func() []byte { return show(f.rows(objects)) })
	}
}

// procSysvSem is proc/sysvipc/sem, as long as there are no sets of semaphores.
func procSysvSem() func() []byte { return func() []byte { return []byte(sysvSemHead) } }
