package chainnode

import (
	"context"
	"errors"
	"log/slog"

	cmtlog "github.com/cometbft/cometbft/libs/log"

	sdklog "cosmossdk.io/log/v2"
)

// cometLog is our log as CometBFT wants it. What it tells about every block is
// debugging to us.
type cometLog struct{ l *slog.Logger }

var _ cmtlog.Logger = cometLog{}

func (c cometLog) Debug(msg string, kv ...any) {}
func (c cometLog) Info(msg string, kv ...any)  { c.l.Debug(msg, kv...) }
func (c cometLog) Warn(msg string, kv ...any)  { c.l.Warn(msg, kv...) }

// Error implements the logger. That a vote is held back is no fault.
func (c cometLog) Error(msg string, kv ...any) {
	level := slog.LevelError
	for _, v := range kv {
		if err, is := v.(error); is && errors.Is(err, errNotYet) {
			level = slog.LevelDebug
		}
	}
	c.l.Log(context.Background(), level, msg, kv...)
}

func (c cometLog) With(kv ...any) cmtlog.Logger { return cometLog{c.l.With(kv...)} }

// sdkLog is our log as the SDK wants it.
type sdkLog struct{ cometLog }

var _ sdklog.Logger = sdkLog{}

func (s sdkLog) InfoContext(_ context.Context, msg string, kv ...any)  { s.Info(msg, kv...) }
func (s sdkLog) WarnContext(_ context.Context, msg string, kv ...any)  { s.Warn(msg, kv...) }
func (s sdkLog) ErrorContext(_ context.Context, msg string, kv ...any) { s.Error(msg, kv...) }
func (s sdkLog) DebugContext(_ context.Context, msg string, kv ...any) { s.Debug(msg, kv...) }

func (s sdkLog) With(kv ...any) sdklog.Logger { return sdkLog{cometLog{s.l.With(kv...)}} }
func (s sdkLog) Impl() any                    { return s.l }
