package msgq

import (
	"math"
	"strconv"
	"syscall"
)

// search is how a receiver chooses (SEARCH_ANY and so on, ipc/msg.c).
type search uint8

const (
	searchAny       search = iota // the first message
	searchEqual                   // the first of one type
	searchNotEqual                // the first of any other type (MSG_EXCEPT)
	searchLessEqual               // the first of the lowest type that is not above a limit
)

// Selector says which messages a receiver takes, and of which type its sender's are. The zero Selector takes any message and sends type 1.
type Selector struct {
	mode  search
	mtype int64 // 1 or more; 0 with searchAny
}

// Select returns the selector of msgrcv(2) with this msgtyp, and MSG_EXCEPT if except is set (ipc/msg.c:convert_mode).
func Select(msgtyp int64, except bool) Selector {
	switch {
	case msgtyp == 0:
		return Selector{}
	case msgtyp == math.MinInt64:
		return Selector{searchLessEqual, math.MaxInt64}
	case msgtyp < 0:
		return Selector{searchLessEqual, -msgtyp}
	case except:
		return Selector{searchNotEqual, msgtyp}
	}
	return Selector{searchEqual, msgtyp}
}

// match says whether the selector takes a message of this type (ipc/msg.c:testmsg).
func (s Selector) match(mtype int64) bool {
	switch s.mode {
	case searchEqual:
		return mtype == s.mtype
	case searchNotEqual:
		return mtype != s.mtype
	case searchLessEqual:
		return mtype <= s.mtype
	}
	return true
}

// sends is the type of what is sent by the selector, 0 if nothing can be.
func (s Selector) sends() int64 {
	switch s.mode {
	case searchAny:
		return 1
	case searchEqual:
		return s.mtype
	}
	return 0
}

// signs are what stands before the number of a selector.
var signs = map[search]string{searchEqual: "", searchNotEqual: "^", searchLessEqual: "-"}

// String is the selector as parseSelector reads it, "" for any.
func (s Selector) String() string {
	if s.mode == searchAny {
		return ""
	}
	return signs[s.mode] + strconv.FormatInt(s.mtype, 10)
}

// parseSelector reads TYPE, -TYPE or ^TYPE, a number from 1 to LONG_MAX without a sign of its own or zeros before it.
func parseSelector(s string) (Selector, bool) {
	mode := searchEqual
	if s != "" {
		switch s[0] {
		case '^':
			mode, s = searchNotEqual, s[1:]
		case '-':
			mode, s = searchLessEqual, s[1:]
		}
	}
	if s == "" || s[0] < '1' || s[0] > '9' {
		return Selector{}, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return Selector{mode, n}, err == nil
}

// Mode is what a read and a write through a view are.
type Mode uint8

// The modes.
const (
	ModeMessage Mode = iota // one message, its text
	ModeRaw                 // one message, struct msgbuf: the type as a native long, then the text
	ModePeek                // a read gives what is in the queue and takes nothing
	ModeStream              // a read takes a message, and the reads after it what it did not hold
	ModeLines               // a write is as many messages as it has lines, a read as many messages as fit
)

var modeNames = map[Mode]string{ModeRaw: "raw", ModePeek: "peek", ModeStream: "stream", ModeLines: "lines"}

// View is how an open file sees its queue. The zero View is the queue itself: any message, one at a time.
type View struct {
	Selector Selector
	Mode     Mode
}

// String is the view as ParseView reads it, "" for the zero View.
func (v View) String() string {
	selector, mode := v.Selector.String(), modeNames[v.Mode]
	if selector != "" && mode != "" {
		return selector + ":" + mode
	}
	return selector + mode
}

// ParseView reads SELECTOR, MODE or SELECTOR:MODE. EINVAL for anything else. There is one way to write each view: what it takes is what String gives.
//
//	SELECTOR = TYPE | "-" TYPE | "^" TYPE
//	TYPE     = 1 to LONG_MAX, in decimal
//	MODE     = "raw" | "peek" | "stream" | "lines"
func ParseView(s string) (View, error) {
	for mode, name := range modeNames {
		switch selector, found := cutMode(s, name); {
		case !found:
		case selector == "":
			return View{Mode: mode}, nil
		default:
			s, ok := parseSelector(selector)
			if !ok {
				return View{}, syscall.EINVAL
			}
			return View{s, mode}, nil
		}
	}
	selector, ok := parseSelector(s)
	if !ok {
		return View{}, syscall.EINVAL
	}
	return View{Selector: selector}, nil
}

// cutMode takes a mode from the end of s, and the colon before it.
func cutMode(s, mode string) (selector string, found bool) {
	if s == mode {
		return "", true
	}
	before := len(s) - len(mode) - 1
	if before < 1 || s[before:] != ":"+mode {
		return "", false
	}
	return s[:before], true
}
