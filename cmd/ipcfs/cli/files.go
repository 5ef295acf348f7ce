package cli

import "github.com/spf13/cobra"

// newFiles is a command that only has a help text: what the files of a mount are. The manual page ipcfs(5) is made from it.
func newFiles() *cobra.Command {
	return &cobra.Command{
		Use:   "files",
		Short: "Describe the files of a mount",
		Long:  filesHelp,
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// filesHelp is the text of ipcfs(5).
const filesHelp = `A mount has a directory for each kind of object, and one in which all of them can be looked
into. Creating a file in the directory of a kind makes an object, with the owner, the mode
and the umask of any file; rm removes it, mv renames it, mkdir makes a directory for more of
the kind. A file opened with O_TMPFILE is an object without a name.

  DIR/pipes/NAME       a pipe, as fifo(7) and pipe(7) describe it
  DIR/shm/NAME         a segment of shared memory, as a file in /dev/shm (shm_overview(7))
  DIR/msgq/NAME        a message queue, as svipc(7) describes it
  DIR/msgq/NAME:VIEW   the same queue seen in another way
  DIR/proc             what there is, who has it open, who waits, what goes through, and limits

PIPES

A read takes what is there, a write of up to 4096 bytes goes in whole. An open waits for the
other side unless it is for both. truncate(2) and the attribute user.ipc.capacity set the
capacity. What a pipe holds is dropped when nobody has it open any more.

SHARED MEMORY

All that a file in /dev/shm does: ftruncate(2), mmap(2), fallocate(2), locks. A segment that
is removed lives as long as it is open or mapped. mount --bind DIR/shm /dev/shm gives it to
programs that know only that path.

MESSAGE QUEUES

Each write is one message of type 1, each read receives one, whole. A message is at most
msgmax bytes, and a queue holds q_qbytes; truncate(2) and the attribute user.ipc.q_qbytes set
that. rm ends a queue: whoever waits gets EIDRM. NAME:SELECTOR, NAME:MODE and
NAME:SELECTOR:MODE are views of the queue, which no directory lists. A SELECTOR is

  7     sends type 7, receives the first of type 7
  -7    receives the lowest type up to 7
  ^7    receives the first of any type but 7

and a MODE is

  raw      each read and write is struct msgbuf: a long with the type, then the text
  peek     what is in the queue, a line for each message; takes none
  stream   a message may be read in pieces, as the read of a shell does
  lines    each line written is a message, a read gives as many as fit

PROC

Every file is readable by all but for trace. Tables have a line with the names of the columns,
and a line for each row, with words parted by blanks; the name, which is last, has blanks,
control characters and backslashes as \NNN in octal. It is followed by (deleted) if the object
is still in use and has no name any more, and - if it never had one.

  pipes, shm, msgq       a line for each object of the kind, in the order they were made
  files                  a line for each open file and for each operation that waits
  maps                   a line for each process that maps a segment
  sysvipc/{msg,sem,shm}  queues and segments as /proc/sysvipc has them: bound over that in a
                         mount namespace, they are listed by ipcs(1) and lsipc(1). The id of an
                         object is its inode number, and so is its key, 0 if it has no name
  metrics                counts and latencies of operations, as Prometheus reads them
  trace                  operations, a line for each, as they end; a read waits for the next
  trace:PATH             those of one object, or of all whose paths match (trace:msgq/job*)
  sys/kernel/NAME        msgmax, msgmnb, msgmni, shmmax, shmall and shmmni; see proc(5)
  sys/fs/NAME            pipe-max-size, pipe-user-pages-soft and pipe-user-pages-hard

The files of sys are limits. Who has mounted, and root, can write them; a new limit acts at
once, on what is done from then on. (With passthrough a shmmax that was lowered so does not
hold write(2), which the kernel does itself, but ftruncate(2) and fallocate(2).) shmall can be
no less than what segments hold. The columns that all kinds have:

  ino                    the inode number
  perms, uid, gid        mode in octal, and owner
  cuid, cgid             who made it
  syscr, rchar           reads that went well since it was made, and their bytes
  syscw, wchar           writes, and their bytes

those of pipes:

  readers, writers       open files, and opens that wait
  bytes                  what it holds, in
  used                   so many slots
  slots                  of so many, each a page of 4096 bytes
  opens, reads, writes   operations that wait

of shared memory, with times in seconds since 1970, 0 for never:

  shm_segsz, rss         size, and how much of it has memory
  shm_nattch             open files
  shm_cprid, shm_lprid   the process that made it, and the last that opened or closed it
  shm_atime, shm_dtime   when it was last opened and closed
  shm_ctime              when owner, mode or name changed

of queues:

  q_cbytes, q_qnum       bytes and messages in it
  q_qbytes               the most of either
  q_lspid, q_stime       who sent last, and when
  q_lrpid, q_rtime       who received last, and when
  q_ctime                when q_qbytes, owner, mode or name changed
  q_receivers, q_senders operations that wait

of files:

  fh                     number of the open file; 0 for an open that waits
  pid, command           the process that opened it or, where an operation waits, that one's,
                         and what it runs now; - if it is gone
  mode                   r, w or rw
  wait, tid, since       the operation that waits (OPEN, READ, WRITE, SETLKW), the thread that
                         does, and since when, in seconds since 1970; -, 0 and 0 for none

of maps:

  pid, command           the process that maps the segment
  perms, bytes           with which rights, and how much

A line of trace has: when the operation began, in seconds since 1970; the process; its command;
the operation (OPEN, CREATE, READ, WRITE, RELEASE for the last close, SETATTR, SETXATTR, UNLINK,
RENAME and so on); the path (FROM->TO for RENAME); bytes moved, or -; ok or the error; and how
many seconds it took. Who reads too slowly loses lines: # dropped N stands in their place. What
the kernel does without asking is not seen: mapped memory, and reads and writes of segments where
passthrough is on. A trace may be read by root and the owner of the mount, that of an object by
its owner too.

ATTRIBUTES

Each column but ino and name is an extended attribute of the object, user.ipc.COLUMN, too.
user.ipc.capacity of a pipe and user.ipc.q_qbytes of a queue can be set; to set another is EPERM.
A pipe has more: head and tail, slots ever filled and emptied; bufs, the slots that hold data,
oldest first, each OFFSET+LENGTH with m behind it if a small write may be put behind it, and p if
it is a packet; files, r_counter, w_counter, nr_accounted. Those of segments are not listed, so
that no program copies them with a file: ask for them by name.`
