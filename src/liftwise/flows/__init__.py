"""The order of things, in verbs: refresh, measure, plan; and prove. Only flows know it."""
