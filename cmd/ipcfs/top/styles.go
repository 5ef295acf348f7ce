package top

import "charm.land/lipgloss/v2"

// styles are how the parts of the screen look. The colours are those of the terminal's own palette, which are made to be read on its background, and nothing is told by
// colour alone: bubbletea leaves it out where there is none.
type styles struct {
	normal, faint, strong lipgloss.Style
	heading, sorted       lipgloss.Style // the titles of the columns, and of the one that the list is sorted by
	note                  lipgloss.Style // what is not as always: a choice, a pause
	alarm                 lipgloss.Style // what waits, fails or is full
	good, warn, traffic   lipgloss.Style
}

// newStyles makes the styles.
func newStyles() styles {
	colour := func(number string) lipgloss.Style { return lipgloss.NewStyle().Foreground(lipgloss.Color(number)) }
	const red, green, yellow, cyan = "1", "2", "3", "6"
	heading := lipgloss.NewStyle().Bold(true).Underline(true)
	return styles{
		normal: lipgloss.NewStyle(), faint: lipgloss.NewStyle().Faint(true), strong: lipgloss.NewStyle().Bold(true),
		heading: heading, sorted: heading.Foreground(lipgloss.Color(cyan)),
		note: colour(yellow).Bold(true), alarm: colour(red).Bold(true),
		good: colour(green), warn: colour(yellow), traffic: colour(cyan),
	}
}

// fill is how a gauge looks that is so full, from 0 to 1.
func (s *styles) fill(fill float64) lipgloss.Style {
	switch {
	case fill >= 0.9:
		return s.alarm
	case fill >= 0.6:
		return s.warn
	}
	return s.good
}
