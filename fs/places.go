package fs

// places bounds how many do something at once, beside the requests.
type places chan struct{}

// run runs f in a place as soon as one is free, unless over is closed before.
func (p places) run(over <-chan struct{}, f func()) {
	select {
	case p <- struct{}{}:
	case <-over:
		return
	}
	defer func() { <-p }()
	f()
}
