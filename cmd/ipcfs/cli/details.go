package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// How stat shows what it found.

// fields is all of it as JSON.
func (d *details) fields(known *names) fields {
	all, err := chooseColumns(strings.Join(columnNames(d.kind), ","), d.kind)
	if err != nil {
		panic(err) // they are the names of columns
	}
	f := objectFields(d.object, all, known)
	for _, l := range d.times {
		f = append(f, field{l.key, l.value})
	}
	limits := fields{}
	for _, l := range d.limits {
		limits = append(limits, field{l.key, l.value})
	}
	f = append(f, field{"limits", limits})
	switch {
	case d.noDetail != "":
		f = append(f, field{"problem", d.noDetail})
	case d.kind == "pipes":
		f = append(f, field{"ring", d.ring.fields()})
	case d.kind == "msgq":
		groups := make([]fields, len(d.messages))
		for i, g := range d.messages {
			groups[i] = fields{{"type", g.mtype}, {"count", g.count}, {"bytes", g.bytes}}
		}
		f = append(f, field{"messages", groups})
	}
	files, maps := splitUses(append(slices.Clip(d.files), d.maps...))
	f = append(f, field{"files", files})
	if d.kind == "shm" {
		f = append(f, field{"maps", maps})
	}
	return f
}

// about is what is told before the tables.
func (d *details) about(known *names, s style) []labeled {
	text := func(name string) string { return s.show(columnNamed(name).cell(d.object, known)) }
	named := func(name, number string) string { return fmt.Sprintf("%s (%s)", text(name), text(number)) }
	list := []labeled{
		{"", "Name", text("NAME")}, {"", "Kind", text("KIND")}, {"", "Inode", text("INO")},
		{"", "Permissions", fmt.Sprintf("%s (%04o)", text("PERMS"), int64(permsOf(d.object)))},
		{"", "Owner", named("OWNER", "UID") + ", group " + named("GROUP", "GID")},
		{"", "Creator", named("CREATOR", "CUID") + ", group " + named("CGROUP", "CGID")},
	}
	for _, c := range columns[slices.IndexFunc(columns, func(c column) bool { return c.name == "SIZE" }):] {
		if c.of(d.kind) && c.name != "NAME" && c.name != "WAITERS" { // what waits is told by operation
			list = append(list, labeled{"", c.label, s.show(c.cell(d.object, known))})
		}
	}
	for _, l := range d.times {
		list = append(list, labeled{"", l.label, s.show(l.value)})
	}
	for _, l := range d.limits {
		value := strconv.FormatUint(l.value.(uint64), 10)
		if !s.bytes {
			value = largeSize(l.value.(uint64))
		}
		list = append(list, labeled{"", l.label, value + " (" + l.key + ")"})
	}
	return list
}

// columnNamed is the column of a name that is one.
func columnNamed(name string) column {
	return columns[slices.IndexFunc(columns, func(c column) bool { return c.name == name })]
}

// print prints all of it. width is that of the terminal.
func (d *details) print(w io.Writer, known *names, s style, width int) error {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, l := range d.about(known, s) {
		fmt.Fprintf(table, "%s:\t%s\n", l.label, l.value)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	switch {
	case d.noDetail != "":
		fmt.Fprintf(&text, "\n%s\n", visible(d.noDetail))
	case d.kind == "pipes":
		fmt.Fprintf(&text, "\nRing: %s\n%s\n", d.ring.legend(), strings.Join(d.ring.draw(width), "\n"))
	case d.kind == "msgq":
		rows := make([][]string, len(d.messages))
		for i, g := range d.messages {
			rows[i] = []string{strconv.FormatInt(g.mtype, 10), strconv.FormatInt(g.count, 10), s.show(byteCount(g.bytes))}
		}
		section(&text, "Messages by type", []heading{{"TYPE", true}, {"MSGS", true}, {"BYTES", true}}, rows)
	}
	rows := make([][]string, len(d.files))
	for i, u := range d.files {
		cells := u.cells(s.now)
		rows[i] = cells[:len(cells)-1]
		if u.name != d.Name("name") && strings.Contains(u.name, ":") {
			rows[i] = append(rows[i], named(u.name)) // a view
		} else {
			rows[i] = append(rows[i], "-")
		}
	}
	headings := slices.Clone(whoHeadings)
	headings[len(headings)-1].name = "VIEW"
	if d.kind != "msgq" { // only queues have views
		headings = headings[:len(headings)-1]
	}
	section(&text, "Open files", headings, rows)
	if d.kind == "shm" {
		rows := make([][]string, len(d.maps))
		for i, u := range d.maps {
			rows[i] = []string{strconv.FormatInt(u.pid, 10), named(u.command), u.mode, s.show(byteCount(u.bytes))}
		}
		section(&text, "Mapped by", []heading{{"PID", true}, {"COMMAND", false}, {"PERMS", false}, {"BYTES", true}}, rows)
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return outputError(err)
	}
	return nil
}

// section is a table with a title, or that there is nothing in it.
func section(text *bytes.Buffer, title string, headings []heading, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintf(text, "\n%s: none\n", title)
		return
	}
	fmt.Fprintf(text, "\n%s:\n", title)
	_ = printTable(text, headings, false, rows) // a buffer takes everything
}
