package flow

import "github.com/IBM/sarama"

// report runs delivery reports and callbacks: the user's code, on the reports goroutine.
func (o *Outcomes) report(oc *Outcome) {
	if !oc.filled {
		o.fill(oc)
	}
	o.tell(oc)
	o.done(oc)
}

// tell runs the user's code.
func (o *Outcomes) tell(oc *Outcome) {
	if o.cfg.Report == nil {
		o.callBack(oc)
		return
	}
	msgs := make([]*sarama.ProducerMessage, 0, len(oc.Records))
	base := int64(NoOffset)
	for i := range oc.Records {
		if oc.Records[i].Completion == nil {
			if len(msgs) == 0 {
				base = oc.offset(i)
			}
			msgs = append(msgs, oc.Records[i].Msg)
		}
	}
	if len(msgs) < len(oc.Records) {
		o.callBack(oc)
	}
	if len(msgs) > 0 {
		Guard(func() {
			o.cfg.Report(Report{Topic: oc.Topic, Partition: oc.Partition, BaseOffset: base, Messages: msgs, Err: oc.Err})
		})
	}
}

func (o *Outcomes) callBack(oc *Outcome) {
	for i := range oc.Records {
		if rec := &oc.Records[i]; rec.Completion != nil && rec.Completion.Done != nil {
			Guard(func() { rec.Completion.Done(rec.Msg, oc.Err) })
		}
	}
}
