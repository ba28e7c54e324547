package libp2p

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"lukechampine.com/blake3"

	"github.com/gotong-network/gotong/internal/p2p"
)

const (
	// maxGossipBytes bounds what is published, as the port says.
	maxGossipBytes = 64 << 10
	// envelopeBytes is room for the nonce and gossipsub's own fields.
	envelopeBytes = 4 << 10
	// A peer may bring this much, a relay of everybody's offers included; more is spam.
	gossipPerSecond = 500
	gossipBurst     = 4000
	maxPaced        = 4096 // peers whose pace is remembered
	// gossipQueue is the length of every queue: the library's 32 drop silently.
	gossipQueue = 1024
	// nonceBytes make a repeated message a new one: gossip forgets repeats of
	// the same bytes for minutes, and offers are announced again for those who
	// came later.
	nonceBytes = 8
)

// gossip is a node's part in all topics. Topics are named by our own code, so
// they are few and stay joined.
type gossip struct {
	router *pubsub.PubSub
	self   peer.ID
	pace   *p2p.Pace[peer.ID]
	blame  func(peer.ID, float64, string)

	mu     sync.Mutex // guards everything below
	topics map[string]*topic
}

type topic struct {
	handle *pubsub.Topic

	mu     sync.Mutex          // guards checks
	checks map[*p2p.Check]bool // of the running subscriptions
}

func newGossip(ctx context.Context, n *Network) (*gossip, error) {
	router, err := pubsub.NewGossipSub(ctx, n.host,
		pubsub.WithPeerScore(standing(n.scores)),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(maxGossipBytes+envelopeBytes),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerOutboundQueueSize(gossipQueue),
		pubsub.WithValidateQueueSize(gossipQueue),
	)
	if err != nil {
		return nil, err
	}
	return &gossip{
		router: router, self: n.host.ID(), blame: n.blame,
		pace: p2p.NewPace[peer.ID](gossipPerSecond, gossipBurst, maxPaced), topics: map[string]*topic{},
	}, nil
}

// standing tells gossip how peers behave, here and in what it counts itself: whose
// standing is bad is not listened to and not told anything.
func standing(s *scores) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	return &pubsub.PeerScoreParams{
			SkipAtomicValidation:      true,
			AppSpecificScore:          s.rating,
			AppSpecificWeight:         1,
			BehaviourPenaltyWeight:    -1,
			BehaviourPenaltyThreshold: 6,
			BehaviourPenaltyDecay:     0.99,
			DecayInterval:             time.Second,
			DecayToZero:               0.01,
			RetainScore:               banTime,
		}, &pubsub.PeerScoreThresholds{
			SkipAtomicValidation: true,
			// Below a ban, so that the faults that lead to it are still seen.
			GossipThreshold:   -banAt / 2,
			PublishThreshold:  -banAt,
			GraylistThreshold: -2 * banAt,
		}
}

// messageID names a message by what it says and by its nonce.
func messageID(m *pb.Message) string {
	sum := blake3.Sum256(append([]byte(m.GetTopic()+"\x00"), m.GetData()...))
	return string(sum[:20])
}

func (g *gossip) publish(ctx context.Context, name string, data []byte) error {
	if len(data) > maxGossipBytes {
		return fmt.Errorf("%w: gossip of %d bytes, at most %d", p2p.ErrFrame, len(data), maxGossipBytes)
	}
	t, err := g.join(name)
	if err != nil {
		return err
	}
	message := make([]byte, nonceBytes, nonceBytes+len(data))
	if _, err := rand.Read(message); err != nil {
		return err
	}
	if err := t.handle.Publish(ctx, append(message, data...)); err != nil {
		return fmt.Errorf("publish on %s: %w", name, err)
	}
	return nil
}

func (g *gossip) join(name string) (*topic, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.topics[name]; t != nil {
		return t, nil
	}
	t := &topic{checks: map[*p2p.Check]bool{}}
	validate := func(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if from == g.self {
			return pubsub.ValidationAccept
		}
		if !g.pace.Allow(from, time.Now()) {
			g.blame(from, faultSpam, "more messages than its share")
			return pubsub.ValidationIgnore
		}
		v := t.judge(m.Data)
		if v == pubsub.ValidationReject {
			g.blame(from, faultGossip, "a message that no honest peer passes on")
		}
		return v
	}
	// Inline: a check costs less than the hand-over to another goroutine.
	if err := g.router.RegisterTopicValidator(name, validate, pubsub.WithValidatorInline(true)); err != nil {
		return nil, fmt.Errorf("topic %s: %w", name, err)
	}
	handle, err := g.router.Join(name)
	if err != nil {
		g.router.UnregisterTopicValidator(name)
		return nil, fmt.Errorf("topic %s: %w", name, err)
	}
	t.handle = handle
	g.topics[name] = t
	return t, nil
}

// judge asks the checks of all subscriptions: the worst verdict counts.
func (t *topic) judge(message []byte) pubsub.ValidationResult {
	if len(message) < nonceBytes || len(message) > nonceBytes+maxGossipBytes {
		return pubsub.ValidationReject
	}
	t.mu.Lock()
	var checks []p2p.Check
	for c := range t.checks {
		checks = append(checks, *c)
	}
	t.mu.Unlock()
	worst := p2p.Accept
	for _, check := range checks {
		worst = max(worst, check(message[nonceBytes:]))
	}
	switch worst {
	case p2p.Accept:
		return pubsub.ValidationAccept
	case p2p.Ignore:
		return pubsub.ValidationIgnore
	}
	return pubsub.ValidationReject
}

// subscribe joins a topic; pump, which the caller runs, fills the channel until
// ctx or the network's own context, end, is over.
func (g *gossip) subscribe(ctx, end context.Context, name string, check p2p.Check) (_ <-chan []byte, pump func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	t, err := g.join(name)
	if err != nil {
		return nil, nil, err
	}
	if check != nil {
		t.setCheck(&check, true)
	}
	sub, err := t.handle.Subscribe(pubsub.WithBufferSize(gossipQueue))
	if err != nil {
		t.setCheck(&check, false)
		return nil, nil, fmt.Errorf("subscribe to %s: %w", name, err)
	}
	out := make(chan []byte, gossipQueue)
	return out, func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(end, cancel)()
		defer close(out)
		defer t.setCheck(&check, false)
		defer sub.Cancel()
		for {
			m, err := sub.Next(ctx)
			if err != nil {
				return
			}
			if m.ReceivedFrom != g.self {
				queue(out, m.Data[nonceBytes:])
			}
		}
	}, nil
}

func (t *topic) setCheck(check *p2p.Check, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if on {
		t.checks[check] = true
	} else {
		delete(t.checks, check)
	}
}

// queue adds a message and drops the oldest when the queue is full; only one
// goroutine adds.
func queue(out chan []byte, data []byte) {
	for {
		select {
		case out <- data:
			return
		default:
		}
		select {
		case <-out:
		default:
		}
	}
}
