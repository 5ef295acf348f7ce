package fs

import (
	"bytes"
	"errors"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"

	"ipcfs/objects/page"
)

// buckets are the upper bounds of the histograms of latencies: from a request that finds all it needs to one that waits for a person.
var buckets = []time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, time.Minute,
}

// metrics counts the operations on the objects of a kind. Counting takes no lock but for errors.
type metrics struct {
	operations [maxOpcode + 1]*latency // by opcode; nil for what is not counted

	mu     sync.Mutex // guards errors; a leaf
	errors map[failure]uint64
}

// latency is how many operations there were and how long they took.
type latency struct {
	counts [21]atomic.Uint64 // by bucket; the last one is for what took longer than all bounds
	sum    atomic.Int64      // nanoseconds
	bytes  atomic.Uint64     // that were moved
}

// failure is a way in which operations end.
type failure struct{ operation, errno string }

// newMetrics makes counters for the operations of a kind.
func newMetrics() *metrics {
	m := &metrics{errors: make(map[failure]uint64)}
	byName := make(map[string]*latency)
	for opcode, name := range opcodes {
		if byName[name] == nil {
			byName[name] = new(latency)
		}
		m.operations[opcode] = byName[name] // two opcodes may be one operation
	}
	return m
}

// count counts an operation that took so long, moved n bytes (noBytes if it moves none), and ended with err.
func (m *metrics) count(opcode uint32, n int, took time.Duration, err error) {
	if opcode > maxOpcode || m.operations[opcode] == nil {
		return
	}
	l := m.operations[opcode]
	b := 0
	for b < len(buckets) && took > buckets[b] {
		b++
	}
	l.counts[b].Add(1)
	l.sum.Add(int64(took))
	if n > 0 {
		l.bytes.Add(uint64(n))
	}
	if err == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors[failure{opcodes[opcode], errnoName(err)}]++
}

// errnoName is the name of an error, as EAGAIN.
func errnoName(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		e = syscall.EIO
	}
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return strconv.Itoa(int(e))
}

// metric is a description of what proc/metrics tells.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ipcfs_"+name, help, labels, nil)
}

var (
	descObjects    = metric("objects", "Objects that exist.", "kind")
	descIDs        = metric("ids", "Objects that count for msgmni and shmmni: not a queue that was removed and is still open.", "kind")
	descBytes      = metric("object_bytes", "Bytes that the objects hold.", "kind")
	descFiles      = metric("open_files", "Open files of objects.", "kind")
	descWaiters    = metric("waiters", "Operations that wait now.", "kind", "operation")
	descOperations = metric("operations_total", "Operations that ended.", "kind", "operation")
	descLatency    = metric("operation_duration_seconds", "Time from the request to its answer, in which it may have waited.", "kind", "operation")
	descErrors     = metric("errors_total", "Operations that ended with an error.", "kind", "operation", "errno")
	descMoved      = metric("transferred_bytes_total", "Bytes that were read and written.", "kind", "direction")
	descArenaLimit = metric("arena_limit_bytes", "Most memory for the data in all objects but shared memory.")
	descArenaUsed  = metric("arena_used_bytes", "Memory that the data in all objects but shared memory takes.")
	descArenaIdle  = metric("arena_idle_bytes", "Memory that is free and not given back to the system yet.")
	descInodes     = metric("inodes", "Files and directories that users have, and further names of files.")
	descInodesMax  = metric("inodes_limit", "Most files and directories.")
	descShmLimit   = metric("shm_limit_bytes", "Most memory for all segments, shmall.")
	descShmUsed    = metric("shm_used_bytes", "Memory that the segments hold, those that were removed and are still open or mapped among them.")
	descLinks      = metric("symlink_bytes", "Bytes of the targets of symbolic links.")
	descLinksMax   = metric("symlink_limit_bytes", "Most bytes of the targets of symbolic links.")
	descTraces     = metric("trace_readers", "Open files of proc/trace.")
	descTraced     = metric("trace_events_total", "Lines that readers of proc/trace were given.")
	descDropped    = metric("trace_dropped_total", "Lines that readers of proc/trace lost, since they were too slow.")
)

// procMetrics is proc/metrics. What objects tell is summed up from what proc/pipes and its like are made of.
func (f *FS) procMetrics() func() []byte {
	objects, files := f.objectsByKind(), f.handles.byKind()
	return func() []byte {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collector(func(out chan<- prometheus.Metric) {
			gauge := func(d *prometheus.Desc, v float64, labels ...string) {
				out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
			}
			for _, k := range f.kinds {
				f.collectObjects(k, objects[k.name()], gauge)
				gauge(descFiles, float64(files[k.name()]), k.name())
			}
			f.collectLimits(gauge)
			for kind, m := range f.metrics {
				m.collect(out, kind)
			}
			f.traces.collect(out)
		}))
		families, err := registry.Gather()
		if err != nil {
			f.opts.Logger.Printf("BUG: metrics: %v", err)
		}
		var b bytes.Buffer
		for _, family := range families {
			if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
				f.opts.Logger.Printf("BUG: metrics: %v", err)
			}
		}
		return b.Bytes()
	}
}

// collector is a prometheus.Collector that does not say beforehand what it will tell: which operations and errors there were.
type collector func(out chan<- prometheus.Metric)

// Describe says nothing.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect tells all.
func (c collector) Collect(out chan<- prometheus.Metric) { c(out) }

// collectObjects tells of the objects of a kind.
func (f *FS) collectObjects(k kind, objects []*inode, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	columns := k.columns()
	sums := make([]int64, len(columns))
	for _, i := range objects {
		for c, v := range i.object.values() {
			sums[c] += v
		}
	}
	gauge(descObjects, float64(len(objects)), k.name())
	for c, column := range columns {
		switch {
		case column.holds:
			gauge(descBytes, float64(sums[c]), k.name())
		case column.waits != "":
			gauge(descWaiters, float64(sums[c]), k.name(), column.waits)
		}
	}
}

// collectLimits tells how much there is of what is limited, and how much of it is used.
func (f *FS) collectLimits(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	arena, shm := f.ns.Arena.Stat(), f.shm.store.Stat()
	f.mu.Lock()
	inodes, targets := f.inodes, f.targets
	f.mu.Unlock()
	gauge(descIDs, float64(f.msgq.store.InUse()), f.msgq.name())
	gauge(descIDs, float64(shm.Segments), f.shm.name())
	gauge(descArenaLimit, float64(arena.Limit)*page.Size)
	gauge(descArenaUsed, float64(arena.InUse)*page.Size)
	gauge(descArenaIdle, float64(arena.Warm)*page.Size)
	gauge(descInodes, float64(inodes))
	gauge(descInodesMax, float64(f.opts.MaxInodes))
	gauge(descShmLimit, float64(shm.Limit)*page.Size)
	gauge(descShmUsed, float64(shm.Limit-shm.Free)*page.Size)
	gauge(descLinks, float64(targets))
	gauge(descLinksMax, maxTargets)
}

// collect tells what was counted of a kind. An operation that never was is left out.
func (m *metrics) collect(out chan<- prometheus.Metric, kind string) {
	// An operation is counted before its error is, and so what failed is read first: no more fail than there were.
	for x, n := range m.failures() {
		out <- prometheus.MustNewConstMetric(descErrors, prometheus.CounterValue, float64(n), kind, x.operation, x.errno)
	}
	for opcode, l := range m.operations {
		if l != nil && opcode != opRENAME2 {
			l.collect(out, kind, opcodes[uint32(opcode)])
		}
	}
	for direction, opcode := range map[string]int{"read": opREAD, "write": opWRITE} {
		out <- prometheus.MustNewConstMetric(descMoved, prometheus.CounterValue, float64(m.operations[opcode].bytes.Load()), kind, direction)
	}
}

// failures returns how often operations failed.
func (m *metrics) failures() map[failure]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.errors)
}

// collect tells of one operation of one kind.
func (l *latency) collect(out chan<- prometheus.Metric, kind, operation string) {
	upTo := make(map[float64]uint64, len(buckets))
	sum := l.sum.Load()
	var n uint64
	for b := range l.counts {
		n += l.counts[b].Load()
		if b < len(buckets) {
			upTo[buckets[b].Seconds()] = n
		}
	}
	if n == 0 {
		return
	}
	out <- prometheus.MustNewConstMetric(descOperations, prometheus.CounterValue, float64(n), kind, operation)
	out <- prometheus.MustNewConstHistogram(descLatency, n, time.Duration(sum).Seconds(), upTo, kind, operation)
}
