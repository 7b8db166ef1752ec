package flow

import "github.com/IBM/sarama"

// report handles an outcome on the reports goroutine.
func (o *Outcomes) report(oc *Outcome) {
	o.fill(oc)
	o.runReports(oc)
	o.done(oc, o.reports.handedOver(false))
}

// runReports runs the callbacks, and one report for the messages from the inputs.
func (o *Outcomes) runReports(oc *Outcome) {
	if o.cfg.Report == nil {
		o.runCallbacks(oc)
		return
	}
	msgs := make([]*sarama.ProducerMessage, 0, len(oc.Records))
	base := int64(NoOffset)
	for i := range oc.Records {
		if oc.Records[i].FromInput() {
			if len(msgs) == 0 {
				base = oc.offset(i)
			}
			msgs = append(msgs, oc.Records[i].Msg)
		}
	}
	if len(msgs) < len(oc.Records) {
		o.runCallbacks(oc)
	}
	if len(msgs) > 0 {
		Guard(func() {
			o.cfg.Report(Report{Topic: oc.Topic, Partition: oc.Partition, BaseOffset: base, Messages: msgs, Err: oc.Err})
		})
	}
}

func (o *Outcomes) runCallbacks(oc *Outcome) {
	for i := range oc.Records {
		if rec := &oc.Records[i]; rec.Completion != nil && rec.Completion.Done != nil {
			Guard(func() { rec.Completion.Done(rec.Msg, oc.Err) })
		}
	}
}
