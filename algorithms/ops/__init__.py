"""Operations that the learners share: normalisation, convex solvers, compiled chunks."""
