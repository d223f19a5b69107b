package job

import (
	"cmp"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// condition returns a condition of the Job that is true, nil if there is none.
func condition(job *batchv1.Job, of ...batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if one := &job.Status.Conditions[i]; one.Status == corev1.ConditionTrue && slices.Contains(of, one.Type) {
			return one
		}
	}
	return nil
}

// unfinished reports whether the Job can still succeed. With the condition FailureTarget it waits only
// for the end of its Pods, which never comes on a dead host.
func unfinished(job *batchv1.Job) bool {
	return job.DeletionTimestamp == nil && condition(job, batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailureTarget) == nil
}

// choice is the Job that an attempt adopts or creates.
type choice struct {
	// adopt is the Job to wait for, nil if a new one is needed.
	adopt *batchv1.Job
	// number is that of the new Job.
	number int
	// failed is the newest Job that has failed, nil if there is none.
	failed *batchv1.Job
}

// choose adopts a Job that still runs, also one of an earlier attempt, or one that has succeeded since
// the step began. A failed Job was a failed attempt, so a new one follows.
func choose(jobs []batchv1.Job, target cleanup.Target) choice {
	own := slices.DeleteFunc(slices.Clone(jobs), func(job batchv1.Job) bool {
		return job.Annotations[annotationKey] != target.IdempotencyKey
	})
	slices.SortFunc(own, func(a, b batchv1.Job) int { return cmp.Compare(numberOf(&b), numberOf(&a)) }) // Newest first.
	chosen := choice{number: 1}
	if len(own) > 0 {
		chosen.number = numberOf(&own[0]) + 1
	}
	for i := range own {
		if unfinished(&own[i]) {
			chosen.adopt = &own[i]
			return chosen
		}
	}
	for i := range own {
		job := &own[i]
		if job.Annotations[annotationBegan] != began(target) || job.DeletionTimestamp != nil {
			continue
		}
		if condition(job, batchv1.JobComplete) != nil {
			chosen.adopt = job
			return chosen
		}
		if chosen.failed == nil {
			chosen.failed = job
		}
	}
	return chosen
}

func numberOf(job *batchv1.Job) int {
	number, err := strconv.Atoi(job.Annotations[annotationNumber])
	if err != nil {
		return 0 // The plugin did not write it.
	}
	return number
}
