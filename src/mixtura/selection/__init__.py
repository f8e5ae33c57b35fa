"""Who should be in a mixture: roles measured, teams searched for, the winner judged anew."""
