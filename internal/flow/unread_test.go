package flow

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// What nobody reads is told after a while: failures at once, messages that were delivered only when their channel is full. It ends
// with the first that is read.
func TestUnreadOutcomesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &told{}
		d := newDesk(t, func(cfg *OutcomesConfig) {
			cfg.ReturnErrors, cfg.ReturnSuccesses, cfg.BufferSize, cfg.Log = true, true, 2, NewLog(slog.New(h))
		})

		d.Decide(outcomeOf(d.accept(Record{Msg: message("a")}, Record{Msg: message("b")}), nil))
		time.Sleep(time.Hour)
		wantTold(t, h)
		d.Decide(outcomeOf(d.accept(Record{Msg: message("c")}), nil))
		time.Sleep(longUnread)
		wantTold(t, h, "outcomes unread unread_at=Successes unread=3 unread_bytes="+fmt.Sprint(RecordOverhead))
		for range 3 {
			<-d.Successes
		}
		time.Sleep(longUnread)
		wantTold(t, h, "back to normal unread_at=Successes took=10s")

		d.Decide(outcomeOf(d.accept(Record{Msg: message("d")}), errRefused))
		time.Sleep(longUnread)
		wantTold(t, h, "outcomes unread unread_at=Errors unread=1 unread_bytes=0 cause=refused")
		<-d.Errors
		time.Sleep(longUnread)
		wantTold(t, h, "back to normal unread_at=Errors took=10s")

		// A slow reader is one.
		for range 100 {
			d.Decide(outcomeOf(d.accept(Record{Msg: message("e")}), errRefused))
			if synctest.Wait(); len(d.Errors) == 2 {
				<-d.Errors
			}
			time.Sleep(longUnread - time.Second)
		}
		wantTold(t, h)
		for d.Buffered() > 0 || len(d.Errors) > 0 {
			<-d.Errors
			synctest.Wait()
		}
	})
}
