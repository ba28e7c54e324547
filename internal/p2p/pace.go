package p2p

import (
	"sync"
	"time"
)

// Pace bounds how often each of many strangers may do something: a bucket of tokens
// for each, in a bounded map. Safe for concurrent use.
type Pace[K comparable] struct {
	perSecond, burst float64
	most             int

	mu sync.Mutex // guards of
	of map[K]bucket
}

type bucket struct {
	tokens float64 // as of at
	at     time.Time
}

// NewPace allows each key burst at once and perSecond in the long run, and remembers
// at most `most` keys.
func NewPace[K comparable](perSecond float64, burst, most int) *Pace[K] {
	return &Pace[K]{perSecond: perSecond, burst: float64(burst), most: most, of: map[K]bucket{}}
}

// Allow takes a token of k; false when there is none. When too many keys are known,
// those that rest are forgotten, and if none does, all: who floods with names gains a
// burst each time it fills the map, no more.
func (p *Pace[K]) Allow(k K, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.of[k]
	if !ok {
		if len(p.of) >= p.most {
			p.forget(now)
		}
		b = bucket{tokens: p.burst, at: now}
	}
	b = p.filled(b, now)
	ok = b.tokens >= 1
	if ok {
		b.tokens--
	}
	p.of[k] = b
	return ok
}

func (p *Pace[K]) filled(b bucket, now time.Time) bucket {
	if d := now.Sub(b.at); d > 0 {
		b.tokens, b.at = min(p.burst, b.tokens+d.Seconds()*p.perSecond), now
	}
	return b
}

func (p *Pace[K]) forget(now time.Time) {
	for k, b := range p.of {
		if p.filled(b, now).tokens >= p.burst {
			delete(p.of, k)
		}
	}
	if len(p.of) >= p.most {
		clear(p.of)
	}
}
