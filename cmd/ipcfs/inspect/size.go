package inspect

import "strconv"

// Size writes a number of bytes for people, as lsipc(1) does: with at most one digit after the point, in powers of 1024.
func Size(n int64) string {
	const units = "BKMGTPE"
	unit, rest := 0, int64(0)
	for n >= 1024 && unit < len(units)-1 {
		n, rest, unit = n/1024, n%1024, unit+1
	}
	s := strconv.FormatInt(n, 10)
	if tenth := rest * 10 / 1024; tenth > 0 {
		s += "." + strconv.FormatInt(tenth, 10)
	}
	return s + units[unit:unit+1]
}
