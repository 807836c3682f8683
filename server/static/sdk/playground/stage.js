/** What is seen and heard: the picture, the list of takes, and playback. */
import { SAMPLE_RATE } from "../events.js";
import { element } from "./elements.js";
import { Picture } from "./picture/picture.js";
import { LONGEST_SECONDS } from "./sound/cut.js";
import { Playback } from "./sound/playback.js";
import { MOST_KEPT_SECONDS } from "./takes/take.js";
import { TakeList } from "./takes/take_list.js";
import { Takes } from "./takes/takes.js";
import { viewOf } from "./view.js";
const HELD_BACK = "The browser holds the sound back. Press Play to hear it from here.";
/** So near to the end of a take, in samples, a fork goes on behind it. */
const NEAR_END = 0.05 * SAMPLE_RATE;
/** So much of a prompt's name has room in a button. */
const MOST_LETTERS = 16;
export class Stage {
    state;
    page;
    picture = new Picture(element("picture"));
    playback = new Playback();
    takes = new Takes();
    /** Samples before a take's beginning at which it is begun to be heard. */
    leadOf = () => 0;
    /** Whether all takes begin with one seed. */
    namesSeed = () => false;
    /** The prompt that is shown is to be said anew, as what is heard or made of another one has changed. */
    onNews = () => { };
    toldNext = false;
    list;
    constructor(state, page, onAct) {
        this.state = state;
        this.page = page;
        this.list = new TakeList(onAct);
        this.picture.head = () => this.position;
        this.playback.onReport = (report) => this.showPlayback(report);
        this.playback.onEnd = () => this.heardToTheEnd();
        this.playback.onHeldBack = (held) => this.showHeldBack(held);
    }
    /** The sample of what is shown that is heard, or would be. */
    get position() {
        const { recorded, shown } = this.state;
        if (recorded && !shown)
            return recorded.samples;
        return this.playback.placeIn(this.state.track);
    }
    /** Whether what is shown is heard. */
    get shownSounds() {
        return this.playback.sounds(this.state.track);
    }
    /** What the main button does: a take that is heard for the first time can be stopped, also once all of it is made. */
    get mainAct() {
        const { phase, prompt, shown } = this.state;
        const { current } = this;
        if (phase === "starting")
            return "stop";
        if (phase === "recording" || (phase === "idle" && !current))
            return "continue";
        return !shown && prompt && current?.prompt && current.prompt.of !== prompt ? "next" : "stop";
    }
    /** The take that is made, or else heard for the first time; null where there is none. */
    get current() {
        const { making, fresh } = this.state;
        if (making)
            return making.take;
        return fresh && this.playback.sounds(fresh.track) ? fresh : null;
    }
    /** Whether what is made is shown, or nothing of it is known yet: another take or prompt may be shown meanwhile. */
    get showsMaking() {
        const { making, shown } = this.state;
        return this.mainAct !== "next" && (!shown || !making || shown === making.take || !this.takes.all.includes(making.take));
    }
    /** The take that a fork would branch from, at the sample that is heard; null where there is none. */
    get forkable() {
        const { phase, shown } = this.state;
        const part = phase === "starting" || phase === "recording" ? null : shown?.partAt(this.position) ?? null;
        return part && part.seconds > 0 ? part : null;
    }
    /** Show a take, or the prompt. */
    show(take) {
        this.state.shown = take;
        this.refresh();
    }
    /** Play a track from a sample on, instead of what was heard. */
    sound(track, from, until = Infinity) {
        this.playback.play(track, from, until);
        this.refresh();
        if (this.playback.heldBack)
            this.showHeldBack(true);
    }
    /** Play what is shown from where it was left, or pause it. */
    async play() {
        const { track } = this.state;
        if (this.shownSounds && !this.playback.heldBack)
            return this.pause();
        await this.playback.open();
        if (!track || track !== this.state.track)
            return;
        const place = this.position;
        const start = this.state.shown ? this.startOf(this.state.shown) : 0;
        const prompt = this.state.shown ? null : this.state.prompt;
        const used = prompt && place >= prompt.firstSample && place <= prompt.endSample;
        if (used)
            this.sound(track, place < prompt.endSample - 1 ? place : prompt.firstSample, prompt.endSample);
        else
            this.sound(track, place < track.samples ? place : start);
        const { shown } = this.state;
        if (!this.playback.heldBack)
            this.page.say(shown ? `Playing ${shown.parent ? "fork" : "take"} ${shown.name}.${noteOnLength(shown)}` : "The prompt.", "echo");
    }
    /** The sample of a take's track from which it is heard, if nobody seeks: the join, or shortly before. */
    startOf(take) {
        return take.join - this.leadOf(take);
    }
    pause() {
        this.silence();
        this.page.say("Paused.", "echo");
    }
    silence() {
        this.playback.stop();
        this.forgetFresh();
        this.refresh();
    }
    /** Go to a second of what is shown.
     * @param done false while a finger still moves */
    seek(second, done) {
        const { track } = this.state;
        if (!track)
            return;
        const sample = Math.round(Math.min(second, track.seconds) * SAMPLE_RATE);
        if (!this.shownSounds)
            this.playback.place(track, sample);
        else if (done)
            this.sound(track, sample);
        this.refresh();
    }
    /** Bring the page up to date with the state. */
    refresh() {
        const { playback, takes } = this;
        const { phase, making, shown, recorded, prompt, track, recipe } = this.state;
        this.picture.show(viewOf(shown, recorded, prompt));
        const sounding = takes.all.find((take) => playback.sounds(take.track)) ?? null;
        this.list.update(takes.all, shown, sounding);
        element("no_picture").hidden = track !== null || prompt === null;
        this.page.show("unread", prompt?.refused ? "The server refused it: choose another file." : "The server may: press Continue.");
        const promptShown = !shown && prompt?.track ? prompt : null;
        this.page.showCut(promptShown?.cut ?? null, promptShown?.track?.seconds ?? 0);
        const heard = prompt && playback.sounds(prompt.track) && !playback.heldBack;
        this.page.showHeard(heard ? prompt.chip : null);
        if (!making)
            this.picture.waiting = false;
        const main = this.mainAct;
        const labels = { stop: "Stop", next: `Continue ${(prompt?.title ?? "").split(",")[0].slice(0, MOST_LETTERS)}`, continue: shown ? (this.namesSeed() ? "Same seed again" : "Another take") : recipe && prompt ? "Play the take" : "Continue" };
        this.page.enter({
            phase,
            main,
            label: labels[main],
            shownSounds: this.shownSounds && !playback.heldBack,
            prompt: prompt !== null,
            audible: (track?.samples ?? 0) > 0,
        });
        this.showTime();
    }
    showTime() {
        const { shown, track, recorded } = this.state;
        this.page.showTime(this.position / SAMPLE_RATE, recorded && !shown ? LONGEST_SECONDS : track?.seconds ?? 0);
        const ended = shown !== null && shown.state !== "making" && this.position >= shown.track.samples - NEAR_END;
        this.page.enterFork(this.forkable !== null, ended);
    }
    showPlayback({ flowing, dropouts, dryAt }) {
        const { playback, picture } = this;
        const { fresh, making } = this.state;
        if (fresh && playback.track === fresh.track)
            fresh.buffered = (fresh.track.samples - playback.position) / SAMPLE_RATE;
        const take = making?.take.track === playback.track ? making.take : null;
        const begun = take !== null && playback.position > take.join;
        take?.ranDry(dropouts, dryAt);
        if (take)
            making.report(playback.position);
        const waiting = begun && !flowing && picture.shows(take.track);
        if (waiting === picture.waiting)
            return this.showTime();
        picture.waiting = waiting;
        this.refresh();
    }
    /** Nothing is heard for the first time any more. */
    forgetFresh() {
        if (this.state.fresh)
            this.state.fresh.buffered = 0;
        this.state.fresh = null;
    }
    /** Say that all was heard; an error stays said. */
    heardToTheEnd() {
        const { fresh, shown, prompt } = this.state;
        const isFresh = fresh?.track === this.playback.track;
        this.forgetFresh();
        this.refresh();
        if (this.page.saysError)
            return;
        if (isFresh && !shown && prompt && fresh?.prompt?.of !== prompt)
            return this.onNews();
        if (!isFresh || this.toldNext)
            return this.page.say(isFresh ? "Done." : "Heard to the end.", "echo");
        this.toldNext = true;
        this.page.say("Done. Make another take, or click in the picture and fork.");
    }
    showHeldBack(held) {
        if (held)
            this.page.say(HELD_BACK, "error");
        else if (this.page.said === HELD_BACK)
            this.page.say("Playing.", "echo"); // anything newer stays said
        this.refresh();
    }
}
/** A sentence on a take that is longer than what is kept of it; else nothing. */
export function noteOnLength(take) {
    return take.seconds > MOST_KEPT_SECONDS ? ` The first ${MOST_KEPT_SECONDS / 60} minutes are kept.` : "";
}
