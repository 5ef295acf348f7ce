package cli

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ipcfs/cmd/ipcfs/inspect"
)

// What the commands have in common that look into a mount: which part of the tree they are about.

// target is the part of a mount that a command is about: all of it, a directory, or an object.
type target struct {
	mount  inspect.Mount
	inTree string // "." for all
	ino    int64  // of the object; 0 if it is a directory
}

// findMount is inspect.Find that says of a dead daemon what to do.
func findMount(arg string) (inspect.Mount, string, error) {
	m, inTree, err := inspect.Find(arg)
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
		err = fmt.Errorf("%s: %w", arg, inspect.ErrGone)
	}
	return m, inTree, err
}

// findTarget finds what arg names; "" is where the user is, or the only mount. The errors are ready to be shown: what is no object and holds none is one.
func findTarget(arg string) (target, error) {
	m, inTree, err := findMount(arg)
	if err != nil {
		return target{}, err
	}
	t := target{mount: m, inTree: inTree}
	if arg == "" {
		arg = m.Path(inTree)
	}
	if err := t.check(arg); err != nil {
		return target{}, err
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(m.Path(inTree), &st) }); err != nil {
		return target{}, targetError(arg, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.ino = int64(st.Ino)
	}
	return t, nil
}

// check says what is wrong with a name that no object can have, as far as the name tells. arg is how the user wrote it.
func (t target) check(arg string) error {
	top, _, _ := strings.Cut(t.inTree, "/")
	switch {
	case top == ".":
		return nil
	case top == "proc":
		return fmt.Errorf("%s is in proc, which tells of the objects and holds none; name an object in one of %s", arg, strings.Join(inspect.Kinds, ", "))
	case !slices.Contains(inspect.Kinds, top):
		if _, err := os.Lstat(t.mount.Path(top)); errors.Is(err, os.ErrNotExist) {
			return targetError(arg, unix.ENOENT)
		}
		return fmt.Errorf("%s is of a kind that this command does not know; 'ipcfs version' should be that of the daemon", arg)
	case isView(t.inTree):
		queue, _, _ := strings.Cut(path.Base(t.inTree), ":")
		return fmt.Errorf("%s is a view of a queue; name the queue, %s", arg, queue)
	}
	return nil
}

// isView says whether a name in the tree is that of a view of a queue. In other directories a colon is a character as any.
func isView(inTree string) bool { return strings.HasPrefix(inTree, "msgq/") && hasView(inTree) }

// targetError says why what arg names cannot be looked at.
func targetError(arg string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		if _, err := os.Lstat(arg); err == nil {
			return fmt.Errorf("%s is a symbolic link to what does not exist", arg)
		}
		return fmt.Errorf("%s does not exist", arg)
	case errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED):
		return fmt.Errorf("%s: %w", arg, inspect.ErrGone)
	}
	var errno unix.Errno
	if errors.As(err, &errno) { // without the words that Go puts before it
		err = errno
	}
	return fmt.Errorf("%s: %w", arg, err)
}

// kind is the one kind of the objects there, "" if they may be of any.
func (t target) kind() string {
	top, _, _ := strings.Cut(t.inTree, "/")
	if top == "." {
		return ""
	}
	return top
}

// kinds are the kinds of the objects there.
func (t target) kinds() []string {
	if k := t.kind(); k != "" {
		return []string{k}
	}
	return inspect.Kinds
}

// has says whether an object of one of the kinds there is among them. An object without a name is in the directory of its kind.
func (t target) has(name string, ino int64) bool {
	switch {
	case t.ino != 0:
		return ino == t.ino
	case t.inTree == "." || t.inTree == t.kind() && name == "":
		return true
	}
	return strings.HasPrefix(name, t.inTree+"/")
}

// object is a row of the table of its kind.
type object struct {
	kind string
	inspect.Row
}

// objects reads the tables of the kinds there, and returns the rows of the target, by kind and in the order in which the objects were made.
func (t target) objects() ([]object, error) {
	var list []object
	for _, kind := range t.kinds() {
		table, err := t.mount.Objects(kind)
		if err != nil {
			return nil, err
		}
		for _, row := range table.Rows {
			if t.has(row.Name("name"), row.Int("ino")) {
				list = append(list, object{kind, row})
			}
		}
	}
	return list, nil
}

// atMostOne is the check for commands that take one path or none.
func atMostOne(args []string) error {
	switch {
	case len(args) > 1:
		return usagef("at most one path is needed, %d given", len(args))
	case len(args) == 1 && args[0] == "":
		return usagef("the path is empty")
	}
	return nil
}

// first is the one path that was given, "" if none was.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
